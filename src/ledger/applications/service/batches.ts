/** Several keys of a namespace at one revision: read, and written all or none. */
import type { Ledger, Operation, Revision } from "../../ledger.ts";
import type { CoordinationAnswer, Item, RequestOf } from "../coordination.ts";
import type { Namespace } from "../namespace.ts";
import { itemOf, unknownOf } from "./items.ts";
import type { Reserve } from "./room.ts";
import type { CallOptions } from "./sessions.ts";

export interface Batches {
  read(namespace: Namespace, request: RequestOf<"read">, call: CallOptions): Answer;
  transact(namespace: Namespace, request: RequestOf<"transact">, call: CallOptions): Answer;
}
type Answer = Promise<CoordinationAnswer>;

export function createBatches({
  ledger,
  reserve,
}: {
  ledger: Pick<Ledger, "get" | "transact">;
  reserve: Reserve;
}): Batches {
  return {
    async read(namespace, { keys }, call) {
      const items: (Item | null)[] = [];
      let atRevision: Revision | undefined;
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

    async transact(namespace, { when, writes }, call) {
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
      const reservation = await reserve(namespace, operations, call);
      let settled: number | "unknown" | undefined;
      try {
        const outcome = await ledger.transact(conditions, operations, call);
        if (outcome.state === "done") {
          settled = outcome.revision;
          return { state: "done", revision: outcome.revision };
        }
        if (outcome.state === "unknown") {
          settled = "unknown";
          return unknownOf(outcome);
        }
        const [current] = outcome.current;
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
