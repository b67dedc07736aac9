/**
 * The ledger of a cell with one server: one SQLite file, one writer with group commit, history by
 * revision. All of it belongs to one thread; a read sees exactly what was committed when it was
 * asked, so every read is linearizable.
 */
import { deadline, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { uuid, type Random } from "../../lib/random.ts";
import { createGroupCommit } from "../../runtime/sqlite/index.ts";
import { createCampaigns } from "../campaign.ts";
import {
  checkKey,
  checkPrefix,
  checkTransaction,
  checkTtl,
  compacted,
  futureRevision,
  leaseNotFound,
  unavailable,
} from "../checks.ts";
import type {
  Ledger,
  LeaseId,
  Operation,
  Revision,
  TransactionOutcome,
  WatchBatch,
} from "../ledger.ts";
import { createCompaction } from "./compaction.ts";
import type { Retention } from "../retention.ts";
import { createExpiry } from "./expiry.ts";
import { openFile } from "./schema.ts";
import { writeSnapshot } from "./snapshot.ts";
import { createStore } from "./store.ts";
import { createWatches } from "./watches.ts";

export type SqliteLedgerOptions = {
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The member's name in `status`. Default `local`. */
  readonly name?: string;
  /** How much history stays; see `Retention`. */
  readonly retention?: Partial<Retention>;
  /** A watch without events is told the revision it has seen after this time. Default 5 s. */
  readonly bookmarkMs?: number;
  /** Shorter TTLs are raised to this. Default 1 s. */
  readonly ttlMsMin?: number;
  /** Declares that the file is a restored copy: cached revisions of clients become void. */
  readonly newEpoch?: boolean;
  /** Largest size of the file in SQLite pages (4 KiB); writes above throw `disk-full`. */
  readonly pagesMax?: number;
};

/**
 * Opens or creates the file at `path`; lives in the thread that calls it and blocks it for the time
 * of an fsync. Throws `store-damaged`, `store-too-new`, `disk-full` or `store-unavailable`. Close it
 * before the process ends; a process that is killed loses nothing that was acknowledged.
 */
export function openSqliteLedger(options: SqliteLedgerOptions): Ledger {
  const { path, clock, random } = options;
  const log = options.log.child({ room: "ledger" });
  const { db, epoch } = openFile({ random }, options);
  const store = createStore(db);
  const writer = createGroupCommit(db, { path, rerunnable: true });
  const watches = createWatches(
    { clock, store },
    { revision: store.state().revision, bookmarkMs: options.bookmarkMs ?? 5000 },
  );
  let closing: Promise<void> | undefined;

  const assertOpen = () => {
    if (closing) throw unavailable("the ledger is closed");
  };

  /** Commits `work` and tells the watches; the promises of one commit settle in order. */
  const commit = <T extends { batch: WatchBatch | undefined }>(work: () => T): Promise<T> =>
    writer.write(work).then((result) => {
      if (result.batch) watches.publish(result.batch);
      return result;
    });

  const expiry = createExpiry({ clock, random, log, store, commit });
  const compaction = createCompaction({ clock, log, store, writer }, options.retention ?? {});

  /** The revision to read at, undefined for the current one. */
  const readRevision = (asked: Revision | undefined) => {
    const { revision, compacted: compactedRevision } = store.state();
    if (asked === undefined || asked === revision) return { revision, past: false };
    if (!Number.isSafeInteger(asked) || asked > revision) throw futureRevision(asked, revision);
    if (asked < compactedRevision) throw compacted(asked, compactedRevision);
    return { revision: asked, past: true };
  };

  const transact: Ledger["transact"] = async (when, then, { timeoutMs, signal } = {}) => {
    assertOpen();
    checkTransaction(when, then);
    signal?.throwIfAborted();
    const conditions = [...when];
    const operations = then.map(owned);
    let state: "waiting" | "given up" | "applied" = "waiting";
    const written = commit(() => {
      if (state === "given up") throw unavailable("nobody waits for this transaction any more");
      state = "applied";
      const applied = store.apply(conditions, operations, expiry.alive);
      return { applied, batch: applied.state === "done" ? applied.batch : undefined };
    }).then(
      ({ applied }): TransactionOutcome =>
        applied.state === "done" ? { state: "done", revision: applied.revision } : applied,
      (error: unknown): TransactionOutcome => {
        // A commit that failed on the disk may still be found there after a restart.
        if (state === "applied" && isCode(error, "storage-failed"))
          return { state: "unknown", cause: error };
        throw isCode(error, "storage-failed", "store-busy", "closed")
          ? unavailable("the ledger takes no writes now", error)
          : error;
      },
    );
    if (timeoutMs === undefined && signal === undefined) return written;
    return await orUnknown(written, { clock, timeoutMs, signal }, () => {
      state = "given up";
    });
  };

  const ledger: Omit<Ledger, "campaign"> = {
    epoch,
    async get(key, { atRevision, signal } = {}) {
      assertOpen();
      signal?.throwIfAborted();
      checkKey("key", key);
      const { revision, past } = readRevision(atRevision);
      return { keyValue: past ? store.at(key, revision) : store.current(key), revision };
    },

    async list(prefix, { atRevision, limit, after = "", signal } = {}) {
      assertOpen();
      signal?.throwIfAborted();
      checkPrefix(prefix);
      const { revision, past } = readRevision(atRevision);
      if (limit !== undefined && !(limit >= 1)) {
        throw new SkerryError({
          code: "invalid-limit",
          message: `limit: ${limit} is not a number of keys`,
          hint: "give 1 or more",
        });
      }
      const page = { prefix, from: after, limit: limit === undefined ? -1 : Math.floor(limit) + 1 };
      const found = past ? store.listAt(page, revision) : store.listCurrent(page);
      const more = limit !== undefined && found.length > Math.floor(limit);
      return { items: more ? found.slice(0, -1) : found, revision, more };
    },

    transact,

    watch(prefix, { after, signal } = {}) {
      checkPrefix(prefix);
      return watches.follow({ prefix, after, signal });
    },

    async grant(ttlMs) {
      assertOpen();
      checkTtl(ttlMs);
      const effectiveMs = Math.max(Math.ceil(ttlMs), options.ttlMsMin ?? 1000);
      const lease = uuid(random) as LeaseId;
      await expiry.grant(lease, effectiveMs);
      return { lease, ttlMs: effectiveMs };
    },

    async renew(lease) {
      assertOpen();
      const ttlMs = expiry.renew(lease);
      if (ttlMs === undefined) throw leaseNotFound(lease);
      return { ttlMs };
    },

    async revoke(lease) {
      assertOpen();
      await expiry.revoke(lease);
    },

    async compact(revision) {
      assertOpen();
      const { revision: now } = store.state();
      if (!Number.isSafeInteger(revision) || revision > now) throw futureRevision(revision, now);
      await compaction.compact(revision);
    },

    async snapshot(to) {
      assertOpen();
      return await writeSnapshot(db, to);
    },

    async status() {
      assertOpen();
      const { revision, compacted: compactedRevision } = store.state();
      return {
        engine: "sqlite",
        revision,
        compactedRevision,
        bytes: store.bytes(),
        members: [{ name: options.name ?? "local", state: "leader" }],
        quorum: "held",
      };
    },

    close() {
      closing ??= (async () => {
        expiry.close();
        compaction.close();
        watches.close();
        await writer.close();
      })();
      return closing;
    },
  };
  return { ...ledger, campaign: createCampaigns({ clock, random, log }, ledger) };
}

/** The caller may reuse its buffer before the commit; what watches are told must not change. */
const owned = (operation: Operation): Operation =>
  operation.type === "put"
    ? { ...operation, value: new Uint8Array(operation.value) }
    : { ...operation };

const isCode = (error: unknown, ...codes: string[]): error is SkerryError =>
  error instanceof SkerryError && codes.includes(error.code);

/** Answers `unknown` when the time is over or the caller gives up before the commit is known. */
async function orUnknown(
  written: Promise<TransactionOutcome>,
  options: { clock: Clock; timeoutMs: number | undefined; signal: AbortSignal | undefined },
  giveUp: () => void,
): Promise<TransactionOutcome> {
  const { clock, timeoutMs, signal } = options;
  const limit = deadline(clock, timeoutMs ?? 2 ** 31 - 1, { parent: signal });
  let onAbort: (() => void) | undefined;
  const late = new Promise<TransactionOutcome>((resolve) => {
    onAbort = () => {
      giveUp();
      const { reason } = limit.signal;
      const cause = reason instanceof Error ? reason : new Error(String(reason));
      resolve({ state: "unknown", cause });
    };
    limit.signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([written, late]);
  } finally {
    if (onAbort) limit.signal.removeEventListener("abort", onAbort);
    limit.done();
  }
}
