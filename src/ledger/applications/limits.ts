/** What each application may have, and what all may have under way. Listed in docs/coordination.md. */
import { SkerryError } from "../../lib/errors.ts";
import { valueBytesMax } from "./coordination.ts";

export type CoordinationLimits = {
  /** Who has these limits, in words, and what to do when one is reached. */
  readonly of: string;
  readonly hint: string;
  readonly keys: number;
  /** Of keys and values. */
  readonly bytes: number;
  readonly sessions: number;
  readonly watches: number;
  readonly waiters: number;
  /** Kept at a time to know writes again. */
  readonly receipts: number;
  /** Requests under way: of one application, and of all. */
  readonly callsOfOne: number;
  readonly calls: number;
};

export const coordinationLimits: CoordinationLimits = {
  of: "one application",
  hint: "delete or end what is not needed; GET /v1/coordination shows usage and limits",
  keys: 4096,
  bytes: 16 * 1024 * 1024,
  sessions: 256,
  watches: 64,
  waiters: 256,
  receipts: 32_768,
  callsOfOne: 64,
  calls: 256,
};

export type QuotaName = "keys" | "bytes" | "sessions" | "watches" | "waiters";

export const quotaExceeded = (limits: CoordinationLimits, limit: QuotaName, used: number) =>
  new SkerryError({
    code: "quota-exceeded",
    message: `${limit}: ${used} in use, and at most ${limits[limit]} are allowed to ${limits.of}`,
    hint: limits.hint,
    details: { limit, max: limits[limit], used },
  });

export const coordinationBusy = (what: string) =>
  new SkerryError({
    code: "coordination-busy",
    message: `too many ${what} are under way here`,
    hint: "send again in a moment; this one changed nothing",
    retryable: true,
  });

export const sessionUnknown = (session: string) =>
  new SkerryError({
    code: "session-unknown",
    message: `session ${session} is not there: it ended, ran out, or was never this application's`,
    hint: "make a new session; what hung on the old one is gone",
  });

/** As an application is told them. */
export const shownLimits = (limits: CoordinationLimits) => ({
  "value-bytes": valueBytesMax,
  keys: limits.keys,
  bytes: limits.bytes,
  sessions: limits.sessions,
  watches: limits.watches,
  waiters: limits.waiters,
});
