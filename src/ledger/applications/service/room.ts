/** Whether there is room for what is to be written: a key that stands already is looked at only near a limit. */
import type { KeyValue, Ledger, Operation } from "../../ledger.ts";
import { coordinationBusy, quotaExceeded, type CoordinationLimits } from "../limits.ts";
import type { Namespace } from "../namespace.ts";
import type { CallOptions } from "./sessions.ts";
import { nothing, type Usage } from "./usage.ts";

/**
 * `receipts` that come with them. Throws `quota-exceeded`, `coordination-busy`; what is answered is
 * settled once the outcome is known. Deletions need none.
 */
export type Reserve = (
  namespace: Namespace,
  operations: readonly Operation[],
  call: CallOptions & { readonly receipts?: number },
) => Promise<ReturnType<Usage["reserve"]>>;

export function createReserve(
  { ledger, usage }: { ledger: Pick<Ledger, "get">; usage: Usage },
  limits: CoordinationLimits,
): Reserve {
  return async ({ application }, operations, { receipts = 0, ...call }) => {
    const puts = operations.filter((operation) => operation.type === "put");
    if (puts.length === 0 && receipts === 0) return { settle: () => undefined };
    const used = await usage.of(application, call);
    if (used.receipts + receipts > limits.receipts)
      throw coordinationBusy("writes of the last two minutes with an idempotency key");
    let growth = { ...nothing, keys: puts.length, receipts };
    for (const put of puts) growth.bytes += weightOf(put);
    if (used.keys + growth.keys > limits.keys || used.bytes + growth.bytes > limits.bytes) {
      let [keys, bytes] = [0, 0];
      for (const put of puts) {
        const { keyValue } = await ledger.get(put.key, { stale: true, ...call });
        if (!keyValue) keys++;
        bytes += weightOf(put) - (keyValue ? weightOf(keyValue) : 0);
      }
      growth = { ...growth, keys, bytes: Math.max(0, bytes) };
      if (used.keys + keys > limits.keys) throw quotaExceeded(limits, "keys", used.keys);
      if (growth.bytes > 0 && used.bytes + growth.bytes > limits.bytes)
        throw quotaExceeded(limits, "bytes", used.bytes);
    }
    return usage.reserve(application, growth);
  };
}

const weightOf = ({ key, value }: Pick<KeyValue, "key" | "value">) => key.length + value.byteLength;
