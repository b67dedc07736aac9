/**
 * Several transactions as one of etcd's: one mark, one proposal and one fsync for all of them, one
 * revision for those that take effect. Those with conditions stand in it as transactions of their own,
 * so that one that is refused leaves the others be.
 */
import type { Revision, TransactionOutcome } from "../ledger.ts";
import type { Work, WorkAnswer } from "./attempts.ts";
import * as wire from "./client/messages.ts";
import type { Encoded, InputOf } from "./client/wire.ts";
import { contractError, type Core } from "./core.ts";
import { isFull, markedAt } from "./full.ts";
import {
  asBytes,
  asText,
  historyKey,
  readHistoryOp,
  sameHistory,
  type History,
} from "./history.ts";
import {
  conditionsOf,
  failedAt,
  foundIn,
  nested,
  readsOf,
  unchanged,
  type Prepared,
} from "./prepare.ts";

/** One for each member, in order; `apart`: none was applied, and each may be by itself. */
export type SharedOutcome = readonly TransactionOutcome[] | "apart";

/** Time for reading what became of members, even where theirs is over. */
const checkMs = 500;

type RequestOp = InputOf<typeof wire.requestOp> | Encoded;

/** All of kind `writes` and without leases; none changes what another looks at or changes. */
export function shareWork(core: Core, members: readonly Prepared[]): Work<SharedOutcome> {
  const unknown = (cause: Error): SharedOutcome =>
    members.map(() => ({ state: "unknown" as const, cause }));

  /** Of what was applied at etcd's revision `at`, by an attempt whose answer was lost. */
  const outcomesAt = async (
    history: History,
    at: number,
    untilMs: number,
  ): Promise<SharedOutcome> => {
    const revision = (at + history.base) as Revision;
    return await Promise.all(
      members.map(async (member): Promise<TransactionOutcome> => {
        if (member.when.length === 0) return { state: "done", revision };
        const keys = new Set([...member.changed, ...member.when.map(({ key }) => key)]);
        try {
          const { responses } = await core.client.ask(
            wire.txn,
            { success: [...keys].map((key) => ({ range: { key: asBytes(key), revision: at } })) },
            { timeoutMs: timeLeft(core, untilMs) },
          );
          const found = foundIn({ responses });
          // A member of kind `writes` puts at least one key, and nobody else touched it there.
          return member.changed.some((key) => found.get(key)?.modRevision === at)
            ? { state: "done", revision }
            : { state: "refused", revision, current: failedAt(member, history, found) };
        } catch (error) {
          const cause = contractError(error);
          return {
            state: "unknown",
            cause: cause instanceof Error ? cause : new Error(String(cause)),
          };
        }
      }),
    );
  };

  return {
    unknown,
    request: (history, mark) => ({
      compare: [sameHistory(history), ...(mark ? [unchanged(mark.slot)] : [])],
      success: [
        ...(mark ? [{ put: { key: mark.slot.key, value: mark.id } }] : []),
        ...members.flatMap((member): readonly RequestOp[] =>
          member.when.length === 0
            ? member.operations
            : [
                nested({
                  compare: conditionsOf(member, history),
                  success: member.operations,
                  failure: readsOf(member),
                }),
              ],
        ),
      ],
      failure: [readHistoryOp, ...(mark ? [{ range: { key: mark.slot.key } }] : [])],
    }),
    answer(history, response, { mark, untilMs }): WorkAnswer<SharedOutcome> {
      const at = response.header?.revision ?? 0;
      const revision = (at + history.base) as Revision;
      if (response.succeeded) {
        let next = mark ? 1 : 0;
        const result = members.map((member): TransactionOutcome => {
          const own = response.responses[next];
          next += member.when.length === 0 ? member.operations.length : 1;
          return member.when.length === 0 || own?.transaction?.succeeded
            ? { state: "done", revision }
            : {
                state: "refused",
                revision,
                current: failedAt(
                  member,
                  history,
                  foundIn({ responses: own?.transaction?.responses ?? [] }),
                ),
              };
        });
        return { state: "settled", result, slotRevision: at };
      }
      const found = foundIn(response);
      const inSlot = mark && found.get(asText(mark.slot.key));
      if (mark && inSlot && Buffer.compare(inSlot.value, mark.id) === 0) {
        const { modRevision } = inSlot;
        return {
          state: "settled",
          result: outcomesAt(history, modRevision, untilMs),
          slotRevision: modRevision,
        };
      }
      if (found.get(asText(historyKey))?.modRevision !== history.modRevision)
        return { state: "rewritten" };
      return { state: "foreign-mark", modRevision: inSlot?.modRevision ?? 0 };
    },
    async refused({ failure, doubt }, { mark, untilMs }) {
      if (mark && isFull(failure)) {
        try {
          const at = await markedAt(core, mark, timeLeft(core, untilMs));
          if (at !== undefined) return await outcomesAt(core.history(), at, untilMs);
        } catch (error) {
          return unknown(doubt ?? (error instanceof Error ? error : failure));
        }
      }
      return doubt ? unknown(doubt) : "apart";
    },
  };
}

const timeLeft = (core: Core, untilMs: number) =>
  Math.max(checkMs, untilMs - core.deps.clock.monotonicMs());
