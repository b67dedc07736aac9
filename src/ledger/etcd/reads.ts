/** Reads: each is a transaction without writes, so that the history is a condition of it. */
import { SkerryError } from "../../lib/errors.ts";
import {
  checkKey,
  checkPrefix,
  compacted,
  endOfPrefix,
  futureRevision,
  unavailable,
} from "../checks.ts";
import type { Ledger, ReadOptions, Revision } from "../ledger.ts";
import * as wire from "./client/messages.ts";
import type { InputOf, OutputOf } from "./client/wire.ts";
import { contractError, contractErrors, isCompacted, type Core } from "./core.ts";
import { EtcdFailure } from "./client/outcome.ts";
import {
  asBytes,
  keyValueOf,
  readHistoryOp,
  sameHistory,
  toEtcd,
  type History,
} from "./history.ts";

type Range = InputOf<typeof wire.rangeRequest>;

/** Rewritten histories follow each other at the pace of a person. */
const rewritesMax = 3;

export function createReads(core: Core): Pick<Ledger, "get" | "list"> & {
  range(
    range: Range,
    options: ReadOptions,
  ): Promise<{
    found: OutputOf<typeof wire.rangeResponse>;
    revision: Revision;
    history: History;
  }>;
} {
  const range = async (asked: Range, options: ReadOptions) => {
    core.assertOpen();
    options.signal?.throwIfAborted();
    const { atRevision, stale = false, signal } = options;
    for (let rewrites = 0; rewrites < rewritesMax; rewrites++) {
      const history = core.history();
      const at = atRevision === undefined ? 0 : etcdRevisionOf(core, atRevision);
      const response = await explained(
        core.client.ask(
          wire.txn,
          {
            compare: [sameHistory(history)],
            success: [{ range: { ...asked, revision: at, serializable: stale } }],
            failure: [
              stale ? { range: { ...readHistoryOp.range, serializable: true } } : readHistoryOp,
            ],
          },
          { timeoutMs: options.timeoutMs ?? core.timeoutMs, signal },
        ),
        atRevision,
      );
      const found = response.responses[0]?.range;
      if (response.succeeded && found)
        return { found, revision: core.note(response.header), history };
      await contractErrors(core.verify());
    }
    throw unavailable("the ledger's history is being rewritten");
  };

  /** Failures of a read at `asked`, with what they are about. */
  const explained = async <T>(reading: Promise<T>, asked: Revision | undefined): Promise<T> => {
    try {
      return await reading;
    } catch (error) {
      if (!(error instanceof EtcdFailure) || asked === undefined) throw contractError(error);
      const first = isCompacted(error) ? await contractErrors(core.oldest()) : undefined;
      const revision = (core.seen() + core.history().base) as Revision;
      throw contractError(error, { asked, first, revision });
    }
  };

  return {
    range,
    async get(key, options = {}) {
      core.assertOpen();
      checkKey("key", key);
      const { found, revision, history } = await range({ key: asBytes(key) }, options);
      const [keyValue] = found.kvs;
      return {
        keyValue: keyValue && keyValueOf(history, keyValue),
        revision: options.atRevision ?? revision,
      };
    },
    async list(prefix, options = {}) {
      core.assertOpen();
      checkPrefix(prefix);
      const { limit, after } = options;
      if (limit !== undefined && !(limit >= 1)) {
        throw new SkerryError({
          code: "invalid-limit",
          message: `limit: ${limit} is not a number of keys`,
          hint: "give 1 or more",
        });
      }
      const { found, revision, history } = await range(
        { ...rangeOf(prefix, after), limit: limit === undefined ? 0 : Math.floor(limit) },
        options,
      );
      return {
        items: found.kvs.map((keyValue) => keyValueOf(history, keyValue)),
        revision: options.atRevision ?? revision,
        more: found.more,
      };
    },
  };
}

/** The ledger's keys under `prefix`; the engine's own lie before all of them. */
export function rangeOf(prefix: string, after?: string): { key: Uint8Array; rangeEnd: Uint8Array } {
  const first = prefix === "" ? " " : prefix;
  const from = after !== undefined && after >= first ? `${after}\0` : first;
  return { key: asBytes(from), rangeEnd: asBytes(endOfPrefix(prefix)) };
}

/** Throws `compacted` for what lies before history, `future-revision` for what is no revision. */
function etcdRevisionOf(core: Core, asked: Revision): number {
  const history = core.history();
  const revision = (core.seen() + history.base) as Revision;
  if (!Number.isSafeInteger(asked)) throw futureRevision(asked, revision);
  const at = toEtcd(history, asked);
  if (at === undefined) throw compacted(asked, history.first);
  return at;
}
