/**
 * Transactions while a member's file is at its quota. "Database space exceeded" says two things: the
 * request was refused before it was proposed, or it was applied although it did not fit (etcd's
 * `quotaApplierV3` applies first and complains afterwards). The mark tells which. Deletions are what
 * frees space, so they go on: without a mark, which is a put.
 */
import type { Revision, TransactionOutcome } from "../ledger.ts";
import * as wire from "./client/messages.ts";
import { EtcdFailure } from "./client/outcome.ts";
import type { Core } from "./core.ts";
import { answerOf, requestFor, type Prepared } from "./prepare.ts";
import type { Slot } from "./slots.ts";

export const isFull = (error: unknown): error is EtcdFailure =>
  error instanceof EtcdFailure && error.details.includes("database space exceeded");

/** Where the transaction of that mark stands; undefined when it was not applied. Throws EtcdFailure. */
export async function markedAt(
  core: Core,
  mark: { slot: Slot; id: Uint8Array },
  timeoutMs: number,
): Promise<number | undefined> {
  const { kvs } = await core.client.ask(wire.range, { key: mark.slot.key }, { timeoutMs });
  const [found] = kvs;
  if (!found || Buffer.compare(found.value, mark.id) !== 0) return undefined;
  mark.slot.modRevision = found.modRevision;
  return found.modRevision;
}

/** Deletes without a mark; an outcome of which nothing is known is `unknown`. Throws EtcdFailure. */
export async function deleteWhenFull(
  core: Core,
  prepared: Prepared,
  options: { timeoutMs: number; signal: AbortSignal | undefined },
): Promise<TransactionOutcome> {
  const history = core.history();
  const before = core.seen();
  try {
    const [only] = prepared.deleted;
    if (only && prepared.deleted.length === 1 && prepared.when.length === 0) {
      // The only write that etcd takes at any size.
      const { header } = await core.client.attempt(wire.deleteRange, { key: only }, options);
      return { state: "done", revision: core.note(header) };
    }
    const request = requestFor(prepared, history, undefined);
    const response = await core.client.attempt(wire.txn, request, options);
    const revision = core.note(response.header);
    const answer = answerOf(prepared, history, response, undefined);
    if (answer.state === "done") return { state: "done", revision };
    if (answer.state === "refused") return { state: "refused", revision, current: answer.current };
    return { state: "unknown", cause: new Error("the ledger's history was rewritten") };
  } catch (error) {
    if (!(error instanceof EtcdFailure) || error.kind === "not-done") throw error;
    if (!isFull(error) || (await wasApplied(core, prepared, { before, ...options })))
      return { state: "unknown", cause: error };
    throw error;
  }
}

/** False only when one of the keys stands there still, as it did. */
async function wasApplied(
  core: Core,
  { deleted }: Prepared,
  options: { before: Revision | number; timeoutMs: number },
): Promise<boolean> {
  for (const key of deleted) {
    const { kvs } = await core.client.ask(wire.range, { key }, { timeoutMs: options.timeoutMs });
    if (kvs.some(({ createRevision }) => createRevision <= options.before)) return false;
  }
  return true;
}
