/** Coordination for applications: keys, sessions, locks and elections on any ledger. */
export type {
  Caller,
  Coordination,
  CoordinationAnswer,
  CoordinationRequest,
  StreamItem,
  StreamRequest,
} from "./coordination.ts";
export { coordinationLimits, type CoordinationLimits } from "./limits.ts";
export {
  applicationMethods,
  collectionMethods,
  groupMethods,
  serveCoordination,
  type CoordinationHandlers,
  type LinkMethods,
} from "./link.ts";
export { measureCoordination } from "./measured.ts";
export {
  collectionShare,
  groupShare,
  createRemoteCoordination,
  type LinkShare,
  type RemoteCoordinationOptions,
  type ServerLink,
} from "./remote.ts";
export { createCoordinationRoutes, type CoordinationRoutes } from "./routes/routes.ts";
export {
  applicationSpace,
  collectionLimits,
  collectionSpace,
  groupSpace,
  type CollectionSpaceDeps,
  type Space,
} from "./spaces.ts";
export { createCoordinationService, type CoordinationService } from "./service/service.ts";
