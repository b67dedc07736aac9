export { parseBalancers, type Balancers } from "./balancers.ts";
export type { Refusal } from "./audit.ts";
export type { BeatRefusal } from "./beats/judge-beat.ts";
export { listenBeats, type BeatListener, type BeatListenOptions } from "./beats/listen-beats.ts";
export { dial, type DialDeps, type DialledLink, type DialOptions } from "./dial.ts";
export { enrol, type EnrolOptions } from "./enrolment/enrol.ts";
export type { EnrolHandler, EnrolRemote } from "./enrolment/serve.ts";
export { defaultLimits, type LinkLimits } from "./link/limits.ts";
export { listen, type ListenDeps, type Listener, type ListenOptions } from "./listen.ts";
export { createRouter, type HandlerRouter } from "./router.ts";
export { parseProxy, type Proxy } from "./through-proxy.ts";
export {
  clientTlsOptions,
  serverTlsOptions,
  verifyPeer,
  verifyServer,
  type Credentials,
  type Trust,
} from "./tls.ts";
export type {
  Address,
  Dialled,
  Handler,
  Incoming,
  Link,
  Peer,
  RequestOptions,
  Router,
} from "./transport.ts";
