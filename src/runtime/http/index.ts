export { httpErrorOf, type HttpError } from "../http-error/index.ts";
export {
  createHttpApp,
  type HttpApp,
  type HttpAppOptions,
  type HttpReply,
  type HttpRequest,
  type Routes,
} from "./app.ts";
export { callerOf, isPerson, setCaller, tokenCallerOf } from "./caller.ts";
export { createEmbeddedHttpApp, type EmbeddedHttpApp } from "./embedded.ts";
export {
  answerClientError,
  createBoundedHttpServer,
  httpServerLimits,
  type HttpRefusal,
  type HttpServerLimits,
} from "./server.ts";
export { acceptWebSocket, isUpgrade, type WebSocketConnection } from "./websocket.ts";
