/** Every bound of a link. All can be set per listener or dialler; both sides need not agree. */
export type LinkLimits = {
  /** Between pings. */
  readonly pingMs: number;
  /** Silence after which the peer is given up; rounded up to whole pings. */
  readonly deadMs: number;
  /** A request, an answer or an item of a stream; a larger one is `body-too-large`. */
  readonly bodyBytesMax: number;
  /** Calls open at one time, for each direction; more are refused with `link-busy`. */
  readonly callsMax: number;
  /** Bodies being received, and answers waiting to be sent; more is `link-busy`. */
  readonly bufferBytesMax: number;
  /** A unary request without `timeoutMs`. */
  readonly requestTimeoutMs: number;
  /** How long a retired link may take to finish its calls. */
  readonly drainMs: number;
  /** How often certificates and trust are judged again while the link is up. */
  readonly recheckMs: number;
  /** Connecting, TLS, and the peer's welcome together. */
  readonly handshakeMs: number;
};

export const defaultLimits: LinkLimits = {
  pingMs: 1000,
  deadMs: 4000,
  bodyBytesMax: 16 * 1024 * 1024,
  callsMax: 256,
  bufferBytesMax: 64 * 1024 * 1024,
  requestTimeoutMs: 30_000,
  drainMs: 60_000,
  recheckMs: 60_000,
  handshakeMs: 5000,
};

/** What the reader of a stream grants before it has read anything; a constant of skerry-link/1. */
export const initialCreditBytes = 256 * 1024;
/** What an item takes from the credit, so that empty items are not free. */
export const itemCost = (itemBytes: number) => itemBytes + 64;
