export { authorize, authorizePath, factsNeeded, involvedPodKey } from "./authorize.ts";
export type { AccessRequest, Decision, PatchBody, StoredFacts, Verb } from "./request.ts";
export { nameOf, type Subject } from "./subject.ts";
