/** Drives a ledger with concurrent clients and records what each of them saw. */
import type { Ledger, TransactionOutcome } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { bytes, text } from "./ledger.ts";
import type { HistoryOperation } from "../../src/drill/checkers/linearizability.ts";

export async function recordHistory(
  ledger: Ledger,
  options: { seed: number; clients: number; operations: number; keys: number },
): Promise<HistoryOperation[]> {
  const history: HistoryOperation[] = [];
  let now = 0;

  const client = async (number: number) => {
    const random = seededRandom(options.seed * 1000 + number);
    for (let i = 0; i < options.operations; i++) {
      const key = `r/${random.integer(options.keys)}`;
      const value = `${number}.${i}`;
      const calledAt = now++;
      const base = { client: number, key, calledAt };
      try {
        switch (random.integer(4)) {
          case 0:
          case 1: {
            const { keyValue } = await ledger.get(key);
            history.push({
              ...base,
              answeredAt: now++,
              type: "read",
              value: text(keyValue?.value),
            });
            break;
          }
          case 2: {
            const gone = random.integer(4) === 0;
            const outcome = await ledger.transact(
              [],
              [gone ? { type: "delete", key } : { type: "put", key, value: bytes(value) }],
            );
            const answeredAt = outcome.state === "unknown" ? undefined : now++;
            history.push({ ...base, answeredAt, type: "write", value: gone ? undefined : value });
            break;
          }
          default: {
            const { keyValue } = await ledger.get(key);
            const called = { ...base, calledAt: now++ };
            const outcome = await ledger.transact(
              [{ key, modRevision: keyValue?.modRevision ?? 0 }],
              [{ type: "put", key, value: bytes(value) }],
            );
            history.push({
              ...called,
              ...swap(outcome, () => now++),
              expected: text(keyValue?.value),
              value,
            });
          }
        }
      } catch (error) {
        // A refusal changed nothing: it leaves no trace in the history.
        if (!(error instanceof SkerryError && error.code === "ledger-unavailable")) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: options.clients }, (_, number) => client(number)));
  return history;
}

function swap(outcome: TransactionOutcome, tick: () => number) {
  return outcome.state === "unknown"
    ? ({ type: "cas", answeredAt: undefined, swapped: undefined } as const)
    : ({ type: "cas", answeredAt: tick(), swapped: outcome.state === "done" } as const);
}
