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
export { callMethod, serveCoordination, streamMethod, type CoordinationHandlers } from "./link.ts";
export { measureCoordination } from "./measured.ts";
export {
  createRemoteCoordination,
  type RemoteCoordinationOptions,
  type ServerLink,
} from "./remote.ts";
export { createCoordinationRoutes, type CoordinationRoutes } from "./routes/routes.ts";
export { createCoordinationService, type CoordinationService } from "./service/service.ts";
