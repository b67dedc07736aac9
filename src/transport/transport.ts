/**
 * Links between nodes and to the hub: one mTLS connection, requests both ways, whoever dialled. The
 * cell dials the hub, never the other way. A link carries bytes; what they mean is the caller's.
 *
 * Wire: ALPN `skerry-link/1` over TLS 1.3 without session tickets, length-prefixed frames. A link has
 * a maximum age (it is replaced before its certificates could expire under it) and pings its peer.
 */
import type { Brand, MonotonicMs } from "../lib/brand.ts";

export type Address = { readonly host: string; readonly port: number };

/** Who is at the other end: verified, exactly one SPIFFE URI. */
export type Peer = {
  /** `spiffe://cell-a.skerry/node/n1` */
  readonly id: string & Brand<"SpiffeId">;
  readonly trustDomain: string;
  /** Path of the id split: `["node", "n1"]`. */
  readonly path: readonly string[];
};

export type RequestOptions = {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Smaller numbers go first when frames of several requests wait. Default 1. */
  readonly priority?: 0 | 1 | 2;
};

export interface Link {
  readonly peer: Peer;
  /**
   * One answer. Throws what the other side threw (decoded), `link-lost` (the outcome is unknown to
   * the caller: the request may have run) or `link-timeout`.
   */
  request(method: string, body: Uint8Array, options?: RequestOptions): Promise<Uint8Array>;
  /** Many answers, with flow control: the sender waits while the reader does not read. */
  open(method: string, body: Uint8Array, options?: RequestOptions): AsyncIterable<Uint8Array>;
  /** Aborts when the link is gone; the reason is a SkerryError. */
  readonly closed: AbortSignal;
  /** Milliseconds of the last ping's round trip; undefined before the first. */
  readonly roundTripMs: number | undefined;
  /** When bytes last came from the peer; pings make that once a second at least. */
  readonly heardMs: MonotonicMs;
  close(reason?: string): void;
}

export type Incoming = {
  readonly peer: Peer;
  readonly link: Link;
  readonly body: Uint8Array;
  readonly signal: AbortSignal;
};

/** Answers one request, or many when it returns an async iterable. Throwing answers with that error. */
export type Handler = (incoming: Incoming) => Promise<Uint8Array> | AsyncIterable<Uint8Array>;

/** Handlers by method name, the same for links dialled and accepted. */
export type Router = {
  handle(method: string, handler: Handler): void;
};

/** A link that is dialled again with backoff whenever it is lost. */
export interface Dialled {
  /** The link now, if there is one. */
  readonly link: Link | undefined;
  /** Resolves with the link, waiting for it as long as the signal allows. */
  wait(options?: { signal?: AbortSignal }): Promise<Link>;
  on(event: "up", listener: (link: Link) => void): () => void;
  on(event: "down", listener: (reason: Error) => void): () => void;
  close(): Promise<void>;
}
