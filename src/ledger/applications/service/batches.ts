/** Several keys of a namespace at one revision: read, and written all or none, if wished once only. */
import type { Condition, Ledger, Operation, Revision } from "../../ledger.ts";
import type { CoordinationAnswer, Item, RequestOf } from "../coordination.ts";
import type { Namespace } from "../namespace.ts";
import { itemOf, unknownOf } from "./items.ts";
import type { Receipts } from "./receipts.ts";
import type { Reserve } from "./room.ts";
import { isGone, type CallOptions } from "./sessions.ts";

export interface Batches {
  read(namespace: Namespace, request: RequestOf<"read">, call: CallOptions): Answer;
  transact(namespace: Namespace, request: RequestOf<"transact">, call: CallOptions): Answer;
}
type Answer = Promise<CoordinationAnswer>;

export function createBatches({
  ledger,
  reserve,
  receipts,
}: {
  ledger: Pick<Ledger, "get" | "transact">;
  reserve: Reserve;
  receipts: Receipts;
}): Batches {
  /** C12: what was written under the id of `once` bars everything else under it. */
  const transactOnce = async (
    conditions: readonly Condition[],
    operations: readonly Operation[],
    { key, value, call }: { key: string; value: Uint8Array; call: CallOptions },
  ): ReturnType<Ledger["transact"]> => {
    for (let isLast = false; ; isLast = true) {
      const lease = await receipts.lease();
      try {
        return await ledger.transact(
          [...conditions, { key, modRevision: 0 }],
          [...operations, { type: "put", key, value, lease }],
          call,
        );
      } catch (error) {
        // Of a history that is over; nothing was written.
        if (!isGone(error) || isLast) throw error;
        receipts.forget(lease);
      }
    }
  };

  return {
    async read(namespace, { keys, once }, call) {
      const items: (Item | null)[] = [];
      let atRevision: Revision | undefined;
      if (once !== undefined) {
        const { keyValue, revision } = await ledger.get(namespace.receipt(once), call);
        if (keyValue) {
          const receipt = { value: base64Of(keyValue.value), revision: keyValue.modRevision };
          return { state: "items", revision, items: [], receipt };
        }
        atRevision = revision;
      }
      for (const key of keys) {
        const { keyValue, revision } = await ledger.get(namespace.keys + key, {
          ...call,
          ...(atRevision === undefined ? {} : { atRevision }),
        });
        atRevision ??= revision;
        items.push(keyValue ? itemOf(namespace, keyValue) : null);
      }
      return { state: "items", revision: atRevision ?? 0, items };
    },

    async transact(namespace, { when, writes, once }, call) {
      const operations = writes.map(({ key, value }): Operation => {
        const at = namespace.keys + key;
        return value === null
          ? { type: "delete", key: at }
          : { type: "put", key: at, value: new Uint8Array(Buffer.from(value, "base64")) };
      });
      const conditions = when.map(({ key, revision }) => ({
        key: namespace.keys + key,
        modRevision: revision as Revision,
      }));
      const receiptsToo = once === undefined ? 0 : 1;
      const reservation = await reserve(namespace, operations, { ...call, receipts: receiptsToo });
      let settled: number | "unknown" | undefined;
      try {
        const outcome = await (once === undefined
          ? ledger.transact(conditions, operations, call)
          : transactOnce(conditions, operations, {
              key: namespace.receipt(once.id),
              value: new Uint8Array(Buffer.from(once.value, "base64")),
              call,
            }));
        if (outcome.state === "done") {
          settled = outcome.revision;
          return { state: "done", revision: outcome.revision };
        }
        if (outcome.state === "unknown") {
          settled = "unknown";
          return unknownOf(outcome);
        }
        const current = outcome.current.find(({ key }) => key.startsWith(namespace.keys));
        return {
          state: "refused",
          code: "condition-failed",
          message: "one of the keys has changed since",
          revision: outcome.revision,
          current: current ? itemOf(namespace, current) : null,
        };
      } finally {
        reservation.settle(settled);
      }
    },
  };
}

const base64Of = (value: Uint8Array): string =>
  Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
