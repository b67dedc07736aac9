/** Whether there is room for what is to be written: a key that stands already is looked at only near a limit. */
import type { KeyValue, Ledger, Operation } from "../../ledger.ts";
import { quotaExceeded, type CoordinationLimits } from "../limits.ts";
import type { Namespace } from "../namespace.ts";
import type { CallOptions } from "./sessions.ts";
import type { Usage } from "./usage.ts";

/** Throws `quota-exceeded`; what is answered is settled once the outcome is known. Deletions need none. */
export type Reserve = (
  namespace: Namespace,
  operations: readonly Operation[],
  call: CallOptions,
) => Promise<ReturnType<Usage["reserve"]>>;

export function createReserve(
  { ledger, usage }: { ledger: Pick<Ledger, "get">; usage: Usage },
  limits: CoordinationLimits,
): Reserve {
  return async ({ application }, operations, call) => {
    const puts = operations.filter((operation) => operation.type === "put");
    if (puts.length === 0) return { settle: () => undefined };
    const used = await usage.of(application, call);
    let growth = { keys: puts.length, bytes: 0, sessions: 0 };
    for (const put of puts) growth.bytes += weightOf(put);
    if (used.keys + growth.keys > limits.keys || used.bytes + growth.bytes > limits.bytes) {
      let [keys, bytes] = [0, 0];
      for (const put of puts) {
        const { keyValue } = await ledger.get(put.key, { stale: true, ...call });
        if (!keyValue) keys++;
        bytes += weightOf(put) - (keyValue ? weightOf(keyValue) : 0);
      }
      growth = { keys, bytes: Math.max(0, bytes), sessions: 0 };
      if (used.keys + keys > limits.keys) throw quotaExceeded(limits, "keys", used.keys);
      if (growth.bytes > 0 && used.bytes + growth.bytes > limits.bytes)
        throw quotaExceeded(limits, "bytes", used.bytes);
    }
    return usage.reserve(application, growth);
  };
}

const weightOf = ({ key, value }: Pick<KeyValue, "key" | "value">) => key.length + value.byteLength;
