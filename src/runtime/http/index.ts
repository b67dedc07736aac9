export {
  createHttpApp,
  httpErrorOf,
  type HttpApp,
  type HttpAppOptions,
  type HttpError,
  type Routes,
} from "./app.ts";
export { createEmbeddedHttpApp, type EmbeddedHttpApp } from "./embedded.ts";
export { createTlsFetch, type TlsFetch } from "./tls-fetch.ts";
