/** What a program deals with when it coordinates: outcomes are values, failures are thrown. */
import type { Clock } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";
import type { Token } from "../token.ts";

export type CoordinationOptions = {
  /** `http://127.0.0.1:7480`; a pod finds it in SKERRY_GATEWAY. */
  readonly gateway: string;
  readonly token: Token;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
  /** Defaults: the platform's. */
  readonly clock?: Clock;
  readonly random?: Random;
  /** How long a call may take; a write is `unknown` then. Default 10 s. */
  readonly timeoutMs?: number;
};

export type KeyEntry = {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: number;
  /** For `cas`. */
  readonly modRevision: number;
  readonly version: number;
  readonly session?: string;
  /** The value as UTF-8. */
  text(): string;
};

export type Holder = {
  /** The fencing token. */
  readonly token: number;
  readonly session: string;
  readonly id?: string;
  readonly value?: string;
};

/** A write counts only while this lock or election is held under this token. */
export type FenceToken =
  | { readonly lock: string; readonly token: number }
  | { readonly election: string; readonly token: number };

export type WriteOutcome =
  | { readonly state: "done"; readonly revision: number }
  | {
      readonly state: "refused";
      readonly reason: "condition-failed";
      readonly revision: number;
      /** What stands there; undefined: nothing. */
      readonly current: KeyEntry | undefined;
    }
  | {
      readonly state: "refused";
      readonly reason: "fence-lost";
      readonly revision: number;
      /** Who holds it now. */
      readonly holder: Holder | undefined;
    }
  /** It may have happened, may still happen, or never: read and compare. */
  | { readonly state: "unknown"; readonly cause: Error };

export type CallOptions = { readonly signal?: AbortSignal };
export type ReadOptions = CallOptions & {
  /** From the nearest copy, which may lag. */
  readonly stale?: boolean;
};
export type WriteOptions = CallOptions & { readonly fence?: FenceToken };
export type PutOptions = WriteOptions & {
  /** The key ends with this session. */
  readonly session?: Session | string;
};

export type ChangeEvent =
  | { readonly type: "put"; readonly entry: KeyEntry }
  | { readonly type: "delete"; readonly key: string };

/** One whole revision. */
export type ChangeBatch = { readonly revision: number; readonly events: readonly ChangeEvent[] };

export interface Session extends AsyncDisposable {
  readonly id: string;
  readonly ttlMs: number;
  /**
   * Aborts before the ledger may give to others what hangs on the session: counted, on a clock that
   * nobody sets, from when the last renewal that was answered was *sent*. The reason is a
   * SkerryError `session-lost`. A process that is paused whole learns of it late: fence writes.
   */
  readonly lost: AbortSignal;
  /** `left-to-expire` when the cell could not be told; it ends by itself then. */
  end(): Promise<"ended" | "left-to-expire">;
}

export type ClaimOptions = CallOptions & {
  /** Hang it on this session instead of one of its own. */
  readonly session?: Session;
  /** Of its own session. Default 10 s. */
  readonly ttlMs?: number;
  /** Shown to whoever asks who holds it. */
  readonly value?: string;
};

export interface Lock extends AsyncDisposable {
  readonly name: string;
  /** Grows from holder to holder. */
  readonly token: number;
  /** For `put`, `cas` and `delete`. */
  readonly fence: FenceToken;
  /** As the session's. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

export interface Leadership extends AsyncDisposable {
  readonly name: string;
  readonly token: number;
  readonly fence: FenceToken;
  readonly lost: AbortSignal;
  resign(): Promise<void>;
}

/**
 * Calls throw SkerryError with the server's code: `session-unknown`, `quota-exceeded`,
 * `server-lost`, `quorum-lost`, `unauthenticated`, …, and `not-answering` when nobody answers at the
 * gateway. What is thrown by a write changed nothing.
 */
export interface CoordinationClient {
  get(key: string, options?: ReadOptions): Promise<KeyEntry | undefined>;
  put(key: string, value: string | Uint8Array, options?: PutOptions): Promise<WriteOutcome>;
  /** Puts if the key's last change was `revision`; 0: if it does not exist. */
  cas(
    key: string,
    revision: number,
    value: string | Uint8Array,
    options?: PutOptions,
  ): Promise<WriteOutcome>;
  /** With `ifRevision` only if that was the key's last change. */
  delete(key: string, options?: WriteOptions & { ifRevision?: number }): Promise<WriteOutcome>;
  /** All keys below `prefix`, at one revision. */
  list(
    prefix: string,
    options?: ReadOptions,
  ): Promise<{ items: readonly KeyEntry[]; revision: number }>;
  /**
   * Every change after `after` (default: now), in order, once, over lost connections and lost
   * servers. Ends when `signal` aborts; throws `compacted` when history since then is forgotten:
   * list again, and watch from that revision.
   */
  watch(prefix: string, options?: CallOptions & { after?: number }): AsyncIterable<ChangeBatch>;
  /** Renewed by itself until `end`. */
  session(options?: CallOptions & { ttlMs?: number }): Promise<Session>;
  /** Waits up to `waitMs` (default: without end), then throws `lock-held`. */
  lock(name: string, options?: ClaimOptions & { waitMs?: number }): Promise<Lock>;
  /** Gives the lock back when `work` has ended, whatever came of it. */
  withLock<T>(
    name: string,
    work: (lock: Lock) => Promise<T>,
    options?: ClaimOptions & { waitMs?: number },
  ): Promise<T>;
  /** Undefined: nobody. */
  holder(name: string, options?: ReadOptions): Promise<Holder | undefined>;
  /** Resolves once elected. */
  elect(name: string, options?: ClaimOptions): Promise<Leadership>;
  leader(name: string, options?: ReadOptions): Promise<Holder | undefined>;
  /** The leader now, then every other one; undefined while there is none. */
  observe(
    name: string,
    options?: CallOptions,
  ): AsyncIterable<{ readonly revision: number; readonly leader: Holder | undefined }>;
}
