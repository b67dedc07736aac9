export {
  listenForwarder,
  type Forwarder,
  type ForwarderOptions,
  type ServerAddress,
} from "./forwarder.ts";
export type { ApiAnswered } from "./handler.ts";
export { renderKubeconfig, type KubeconfigParts } from "./kubeconfig.ts";
export type { MountedAnswer, MountedRequest, MountedRoute } from "./mounted.ts";
export type {
  Authenticate,
  PodLogOptions,
  PodLogs,
  PodLogTarget,
  ServingCredentials,
} from "./ports.ts";
export {
  createApiServer,
  type ApiServer,
  type ApiServerDependencies,
  type ApiServerOptions,
} from "./server.ts";
