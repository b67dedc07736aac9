/** Who calls the gateway, and how much everybody may. */
import { httpServerLimits, type HttpServerLimits } from "../runtime/http/index.ts";

/** Who calls; `id` is a SPIFFE id. */
export type Subject = { readonly id: string };

export type GatewayLimits = HttpServerLimits & {
  /** Unless a route says otherwise. */
  readonly bodyBytesMax: number;
  readonly requestsPerSecond: number;
  readonly requestsBurst: number;
  /** What the requests of one subject, and of all, may take in memory while they are under way. */
  readonly subjectBytesMax: number;
  readonly bytesMax: number;
  /** How long `stop` waits for requests under way. */
  readonly drainMs: number;
};

export const limitsDefault: GatewayLimits = {
  ...httpServerLimits,
  bodyBytesMax: 4 * 1024 * 1024,
  requestsPerSecond: 2000,
  requestsBurst: 4000,
  subjectBytesMax: 16 * 1024 * 1024,
  bytesMax: 64 * 1024 * 1024,
  drainMs: 5_000,
};
