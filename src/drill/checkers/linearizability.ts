/**
 * A linearizability checker for registers with compare-and-set: the search of Wing and Gong (1993)
 * with the memory of Lowe (2017), key by key, since linearizability composes. An operation whose
 * outcome is unknown may take effect at any time after its call, or never.
 *
 * Histories may be long: they are cut where nothing was under way, and what the register may hold
 * there is carried on. An unknown outcome would never let go of the history; but where each value is
 * written once, whoever saw the value proves that the write happened before, and what nobody saw
 * may be left out.
 */

/** undefined: the key does not exist. */
export type RegisterValue = string | undefined;

export type HistoryOperation = {
  readonly client: number;
  readonly key: string;
  /** Points on one line of time: when it was called, and when it answered (absent: unknown). */
  readonly calledAt: number;
  readonly answeredAt: number | undefined;
} & (
  | { readonly type: "read"; readonly value: RegisterValue }
  | { readonly type: "write"; readonly value: RegisterValue }
  /** `swapped` is undefined when the outcome is unknown. */
  | {
      readonly type: "cas";
      readonly expected: RegisterValue;
      readonly value: RegisterValue;
      readonly swapped: boolean | undefined;
      /** What a refusal said the register held. */
      readonly found?: { readonly value: RegisterValue };
    }
);

export type Finding = {
  readonly key: string;
  /** `undecided`: the search grew beyond its bound; nothing is proved. */
  readonly verdict: "violated" | "undecided";
  /** Those around the point up to which all can be explained. */
  readonly operations: readonly HistoryOperation[];
};

/** Positions looked at for one quiet-to-quiet stretch of one key: about a second. */
const positionsMax = 300_000;

/** Operations shown to each side of a finding. */
const shownAround = 25;

/** Keys whose history is not proved linearizable; empty when all is well. */
export function checkLinearizable(
  history: readonly HistoryOperation[],
  options: { readonly positionsMax?: number } = {},
): Finding[] {
  const byKey = Map.groupBy(history, ({ key }) => key);
  return [...byKey].flatMap(
    ([key, operations]) => checkKey(key, operations, options.positionsMax ?? positionsMax) ?? [],
  );
}

/** What the register may hold, and which unknown operations may still happen. */
type Standing = { readonly state: RegisterValue; readonly open: readonly HistoryOperation[] };

function checkKey(
  key: string,
  operations: readonly HistoryOperation[],
  limit: number,
): Finding | undefined {
  let standings: readonly Standing[] = [{ state: undefined, open: [] }];
  for (const stretch of stretches(settled(operations))) {
    const played = play(stretch, standings, limit);
    if (played.standings.length === 0) {
      const from = Math.max(0, played.furthest - shownAround);
      return {
        key,
        verdict: played.whole ? "violated" : "undecided",
        operations: stretch.slice(from, played.furthest + shownAround),
      };
    }
    ({ standings } = played);
  }
  return undefined;
}

/**
 * The operations that must be placed, and the unknown ones that still may: who saw a value that one
 * operation alone can have written proves that it happened, and by when.
 */
function settled(operations: readonly HistoryOperation[]): HistoryOperation[] {
  const writers = Map.groupBy(
    operations.filter((operation) => operation.type !== "read"),
    ({ value }) => value,
  );
  const known = operations.filter(({ answeredAt }) => answeredAt !== undefined);
  const unknown = new Set(
    operations.filter(({ type, answeredAt }) => type !== "read" && answeredAt === undefined),
  );
  const proved: HistoryOperation[] = [];
  const seenByMs = new Map<RegisterValue, number>();
  const see = (operation: HistoryOperation) => {
    const value = valueSeen(operation);
    if (!value) return;
    const before = seenByMs.get(value.value) ?? Infinity;
    seenByMs.set(value.value, Math.min(before, operation.answeredAt ?? Infinity));
  };
  known.forEach(see);
  for (let found = true; found;) {
    found = false;
    for (const operation of unknown) {
      const answeredAt = seenByMs.get(operation.value);
      const alone = operation.value !== undefined && writers.get(operation.value)?.length === 1;
      if (!alone || answeredAt === undefined || answeredAt < operation.calledAt) continue;
      const certain: HistoryOperation =
        operation.type === "cas"
          ? { ...operation, answeredAt, swapped: true }
          : { ...operation, answeredAt };
      unknown.delete(operation);
      proved.push(certain);
      see(certain);
      found = true;
    }
  }
  // A refusal that does not say what it found is explained by any other value, seen or not.
  const blind = known.some(
    (operation) => operation.type === "cas" && operation.swapped === false && !operation.found,
  );
  const open = [...unknown].filter(
    ({ value }) => blind || value === undefined || seenByMs.has(value),
  );
  return [...known, ...proved, ...open].sort((a, b) => a.calledAt - b.calledAt);
}

/** What an answered operation proves the register to have held. */
function valueSeen(operation: HistoryOperation): { readonly value: RegisterValue } | undefined {
  if (operation.type === "read") return { value: operation.value };
  if (operation.type === "write") return undefined;
  return operation.swapped === true ? { value: operation.expected } : operation.found;
}

/** Cut wherever nothing that has an answer is under way. */
function stretches(operations: readonly HistoryOperation[]): HistoryOperation[][] {
  const all: HistoryOperation[][] = [];
  let quietAt = -Infinity;
  for (const operation of operations) {
    if (all.length === 0 || operation.calledAt > quietAt) all.push([]);
    all.at(-1)?.push(operation);
    quietAt = Math.max(quietAt, operation.answeredAt ?? -Infinity);
  }
  return all;
}

/** The state after `operation`, or `impossible` when it cannot have answered so in `state`. */
function step(
  operation: HistoryOperation,
  state: RegisterValue,
): { state: RegisterValue } | "impossible" {
  switch (operation.type) {
    case "read":
      return operation.value === state ? { state } : "impossible";
    case "write":
      return { state: operation.value };
    case "cas": {
      const swaps = operation.expected === state;
      if (operation.swapped !== undefined && operation.swapped !== swaps) return "impossible";
      if (operation.found && operation.found.value !== state) return "impossible";
      return { state: swaps ? operation.value : state };
    }
  }
}

/** How far a search has come: everything before `first` is placed, and `beyond` of what follows. */
type Position = {
  readonly first: number;
  readonly beyond: readonly number[];
  /** Of the open operations. */
  readonly taken: readonly number[];
  readonly state: RegisterValue;
};

/** Everything that may be the case after a stretch; or how far it could be explained. */
function play(
  stretch: readonly HistoryOperation[],
  standings: readonly Standing[],
  limit: number,
): { readonly standings: readonly Standing[]; readonly furthest: number; readonly whole: boolean } {
  const known = stretch.filter(({ answeredAt }) => answeredAt !== undefined);
  const fresh = stretch.filter(({ answeredAt }) => answeredAt === undefined);
  const after = new Map<string, Standing>();
  let looked = 0;
  let furthest = 0;
  for (const standing of standings) {
    const open = [...standing.open, ...fresh];
    const seen = new Set<string>();
    const stack: Position[] = [{ first: 0, beyond: [], taken: [], state: standing.state }];
    for (let top = stack.pop(); top; top = stack.pop()) {
      if (++looked > limit) return { standings: [], furthest, whole: false };
      const { first, taken, state } = top;
      furthest = Math.max(furthest, first);
      if (first === known.length) {
        const left = open.filter((_, i) => !taken.includes(i));
        const names = left.map(({ client, calledAt }) => `${client}@${calledAt}`);
        after.set(`${names.join(" ")} ${state ?? "\0"}`, { state, open: left });
        continue;
      }
      for (const position of following(known, open, top)) {
        const memory = `${position.first} ${position.beyond.join()} ${position.taken.join()} ${position.state ?? "\0"}`;
        if (seen.has(memory)) continue;
        seen.add(memory);
        stack.push(position);
      }
    }
  }
  return { standings: widest([...after.values()]), furthest, whole: true };
}

/** Whatever is placed next must have been called before the earliest missing answer. */
function following(
  known: readonly HistoryOperation[],
  open: readonly HistoryOperation[],
  position: Position,
): Position[] {
  const { first, beyond, taken, state } = position;
  const candidates: number[] = [];
  let earliestAnswer = Infinity;
  for (let i = first; i < known.length; i++) {
    const { calledAt = 0, answeredAt = Infinity } = known[i] ?? {};
    if (calledAt > earliestAnswer) break;
    if (beyond.includes(i)) continue;
    candidates.push(i);
    earliestAnswer = Math.min(earliestAnswer, answeredAt);
  }
  const placed = candidates.flatMap((i): Position[] => {
    const operation = known[i];
    if (!operation || operation.calledAt > earliestAnswer) return [];
    const result = step(operation, state);
    return result === "impossible" ? [] : [{ ...advanced(first, beyond, i), taken, ...result }];
  });
  const late = open.flatMap((operation, i): Position[] => {
    if (taken.includes(i) || operation.calledAt > earliestAnswer) return [];
    const result = step(operation, state);
    // What changes nothing need not have happened.
    if (result === "impossible" || result.state === state) return [];
    return [{ ...position, taken: [...taken, i].sort((a, b) => a - b), ...result }];
  });
  return [...late, ...placed];
}

function advanced(first: number, beyond: readonly number[], placed: number) {
  if (placed !== first) return { first, beyond: [...beyond, placed].sort((a, b) => a - b) };
  let next = first + 1;
  while (beyond.includes(next)) next++;
  return { first: next, beyond: beyond.filter((i) => i > next) };
}

/** Without those from which no more can follow than from another: an open operation may stay so for ever. */
function widest(standings: readonly Standing[]): Standing[] {
  return standings.filter(
    (one) =>
      !standings.some(
        (other) =>
          other !== one &&
          other.state === one.state &&
          other.open.length > one.open.length &&
          one.open.every((operation) => other.open.includes(operation)),
      ),
  );
}
