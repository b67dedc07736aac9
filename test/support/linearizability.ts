/**
 * A linearizability checker for registers with compare-and-set: the search of Wing and Gong (1993)
 * with the memory of Lowe (2017), key by key, since linearizability composes. An operation whose
 * outcome is unknown may take effect at any time after its call, or never.
 */

/** undefined: the key does not exist. */
type Value = string | undefined;

export type HistoryOperation = {
  readonly client: number;
  readonly key: string;
  /** Points on one line of time: when it was called, and when it answered (absent: unknown). */
  readonly calledAt: number;
  readonly answeredAt: number | undefined;
} & (
  | { readonly type: "read"; readonly value: Value }
  | { readonly type: "write"; readonly value: Value }
  /** `swapped` is undefined when the outcome is unknown. */
  | {
      readonly type: "cas";
      readonly expected: Value;
      readonly value: Value;
      readonly swapped: boolean | undefined;
    }
);

/** Keys whose history is not linearizable, each with its operations; empty when all is well. */
export function checkLinearizable(
  history: readonly HistoryOperation[],
): { key: string; operations: readonly HistoryOperation[] }[] {
  const byKey = Map.groupBy(history, ({ key }) => key);
  return [...byKey]
    .filter(([, operations]) => !isLinearizable(operations))
    .map(([key, operations]) => ({ key, operations }));
}

/** The state after `operation`, or `impossible` when it cannot have answered so in `state`. */
function step(operation: HistoryOperation, state: Value): { state: Value } | "impossible" {
  switch (operation.type) {
    case "read":
      return operation.value === state ? { state } : "impossible";
    case "write":
      return { state: operation.value };
    case "cas": {
      const swaps = operation.expected === state;
      if (operation.swapped !== undefined && operation.swapped !== swaps) return "impossible";
      return { state: swaps ? operation.value : state };
    }
  }
}

function isLinearizable(operations: readonly HistoryOperation[]): boolean {
  // A read without an answer says nothing.
  const all = operations
    .filter(({ type, answeredAt }) => type !== "read" || answeredAt !== undefined)
    .sort((a, b) => a.calledAt - b.calledAt);
  const known = all.reduce(
    (mask, { answeredAt }, i) => (answeredAt === undefined ? mask : mask | (1n << BigInt(i))),
    0n,
  );
  const seen = new Set<string>();
  const stack: { placed: bigint; state: Value }[] = [{ placed: 0n, state: undefined }];
  for (let top = stack.pop(); top; top = stack.pop()) {
    const { placed, state } = top;
    if ((placed & known) === known) return true;
    // Whatever is placed next must have been called before the earliest missing answer.
    let earliestAnswer = Infinity;
    for (const [i, operation] of all.entries()) {
      if (operation.calledAt >= earliestAnswer) break;
      if ((placed >> BigInt(i)) & 1n) continue;
      earliestAnswer = Math.min(earliestAnswer, operation.answeredAt ?? Infinity);
    }
    for (const [i, operation] of all.entries()) {
      if (operation.calledAt >= earliestAnswer) break;
      if ((placed >> BigInt(i)) & 1n) continue;
      const next = step(operation, state);
      if (next === "impossible") continue;
      const position = { placed: placed | (1n << BigInt(i)), state: next.state };
      const memory = `${position.placed.toString(36)} ${position.state ?? "\0"}`;
      if (seen.has(memory)) continue;
      seen.add(memory);
      stack.push(position);
    }
  }
  return false;
}
