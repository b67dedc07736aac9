/** Keys of one application: each write is one transaction, conditions and fence included. */
import type { Condition, KeyValue, Ledger, Operation, Revision } from "../../ledger.ts";
import type { CoordinationAnswer, FenceCondition, Refusal, RequestOf } from "../coordination.ts";
import { sessionUnknown } from "../limits.ts";
import type { Namespace } from "../namespace.ts";
import { holderOf, itemOf, unknownOf } from "./items.ts";
import type { Reserve } from "./room.ts";
import { isGone, type CallOptions, type Sessions } from "./sessions.ts";

export interface Keys {
  get(namespace: Namespace, request: RequestOf<"get">, call: CallOptions): Answer;
  list(namespace: Namespace, request: RequestOf<"list">, call: CallOptions): Answer;
  put(namespace: Namespace, request: RequestOf<"put">, call: CallOptions): Answer;
  delete(namespace: Namespace, request: RequestOf<"delete">, call: CallOptions): Answer;
}
type Answer = Promise<CoordinationAnswer>;

const pageItemsDefault = 100;
/** Read from the ledger at a time; a page ends when it has this many bytes. */
const chunkItems = 64;
const pageBytesMax = 1024 * 1024;

export function createKeys(deps: { ledger: Ledger; reserve: Reserve; sessions: Sessions }): Keys {
  const { ledger, reserve, sessions } = deps;

  const refusal = async (
    namespace: Namespace,
    outcome: { revision: Revision; current: readonly KeyValue[] },
    { key, fence }: { key: string; fence: FenceCondition | undefined },
    call: CallOptions,
  ): Promise<Refusal> => {
    if (fence) {
      // A token that is over never holds again, so that a later look tells the same.
      const { keyValue } = await ledger.get(namespace.claim(fence.kind, fence.name), call);
      if (keyValue?.modRevision !== fence.token) {
        return {
          state: "refused",
          code: "fence-lost",
          message: `${fence.kind} ${fence.name} is not held under token ${fence.token} any more`,
          revision: outcome.revision,
          current: keyValue ? holderOf(keyValue) : null,
        };
      }
    }
    const current = outcome.current.find((one) => one.key === namespace.keys + key);
    return {
      state: "refused",
      code: "condition-failed",
      message: current
        ? `${key} was last changed at revision ${current.modRevision}`
        : `${key} does not exist`,
      revision: outcome.revision,
      current: current ? itemOf(namespace, current) : null,
    };
  };

  const write = async (
    namespace: Namespace,
    request: RequestOf<"put" | "delete">,
    operation: Operation,
    call: CallOptions,
  ): Answer => {
    const { key, fence, ifRevision } = request;
    const when: Condition[] = [];
    if (ifRevision !== undefined)
      when.push({ key: operation.key, modRevision: ifRevision as Revision });
    if (fence) {
      const claim = namespace.claim(fence.kind, fence.name);
      when.push({ key: claim, modRevision: fence.token as Revision });
    }
    const reservation = await reserve(namespace, [operation], call);
    let settled: number | "unknown" | undefined;
    try {
      const outcome = await ledger.transact(when, [operation], call);
      if (outcome.state === "done") {
        settled = outcome.revision;
        return { state: "done", revision: outcome.revision };
      }
      if (outcome.state === "refused")
        return await refusal(namespace, outcome, { key, fence }, call);
      settled = "unknown";
      return unknownOf(outcome);
    } finally {
      reservation.settle(settled);
    }
  };

  return {
    async get(namespace, { key, stale }, call) {
      const { keyValue, revision } = await ledger.get(namespace.keys + key, {
        ...call,
        stale: stale ?? false,
      });
      return { state: "item", revision, item: keyValue ? itemOf(namespace, keyValue) : null };
    },

    async list(namespace, request, call) {
      const limit = request.limit ?? pageItemsDefault;
      const items: KeyValue[] = [];
      let revision = request.revision as Revision | undefined;
      let after = request.after === undefined ? undefined : namespace.keys + request.after;
      for (let bytes = 0; ;) {
        const page = await ledger.list(namespace.keys + request.prefix, {
          ...call,
          stale: request.stale ?? false,
          limit: Math.min(chunkItems, limit - items.length),
          ...(after === undefined ? {} : { after }),
          ...(revision === undefined ? {} : { atRevision: revision }),
        });
        revision ??= page.revision;
        items.push(...page.items);
        after = page.items.at(-1)?.key;
        for (const { key, value } of page.items) bytes += key.length + value.byteLength;
        if (page.more && items.length < limit && bytes < pageBytesMax && after !== undefined)
          continue;
        return {
          state: "page",
          revision,
          epoch: ledger.epoch,
          items: items.map((item) => itemOf(namespace, item)),
          more: page.more,
        };
      }
    },

    async put(namespace, request, call) {
      const lease =
        request.session === undefined
          ? undefined
          : await sessions.leaseOf(namespace, request.session);
      const operation: Operation = {
        type: "put",
        key: namespace.keys + request.key,
        value: new Uint8Array(Buffer.from(request.value, "base64")),
        ...(lease === undefined ? {} : { lease }),
      };
      try {
        return await write(namespace, request, operation, call);
      } catch (error) {
        throw isGone(error) ? sessionUnknown(request.session ?? "") : error;
      }
    },

    delete: (namespace, request, call) =>
      write(namespace, request, { type: "delete", key: namespace.keys + request.key }, call),
  };
}
