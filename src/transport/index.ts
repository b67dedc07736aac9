export type {
  Dialled,
  Handler,
  Incoming,
  Link,
  Peer,
  RequestOptions,
  Router,
} from "./transport.ts";
