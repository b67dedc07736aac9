/** What nodes tell each other of the hub (`hub-news.ts`), of streams and of documents. */
import type { DocumentsSync } from "./documents-hub.ts";
import type { HubWord } from "./hub-news.ts";
import type { HubSync } from "./hub-sync.ts";
import { decodeFeedStates, decodeVector, decodeWishes, encodeJson } from "./messages.ts";
import type { Vector } from "./replicated.ts";
import { covers } from "./vectors.ts";

/** `store`: with its lanes. */
export const wordOfStreams = (
  hub: Pick<HubSync<never>, "connected" | "vector" | "overhear">,
  store: { vector(): Promise<Vector> },
): HubWord => ({
  get connected() {
    return hub.connected;
  },
  isWaiting: async () => !covers(hub.vector(), await store.vector()),
  question: () => new Uint8Array(),
  answer: () => encodeJson(hub.vector()),
  hear: (answer) => hub.overhear(decodeVector(answer)),
});

export const wordOfDocuments = (
  hub: Pick<DocumentsSync<never>, "connected" | "backlog" | "wishes" | "states" | "overhear">,
): HubWord => ({
  get connected() {
    return hub.connected;
  },
  isWaiting: async () => (await hub.backlog()) > 0,
  question: () => encodeJson(hub.wishes()),
  answer: (question) => encodeJson(hub.states(decodeWishes(question))),
  hear: (answer) => hub.overhear(decodeFeedStates(answer)),
});
