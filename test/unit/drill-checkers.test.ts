/** The nemesis' checkers: each is shown the bug it is there for, and a history without one. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  checkLinearizable,
  type HistoryOperation,
} from "../../src/drill/checkers/linearizability.ts";
import { checkLocks, type GuardedWrite, type Hold } from "../../src/drill/checkers/locks.ts";
import { checkWatches } from "../../src/drill/checkers/watches.ts";
import { checkWrites } from "../../src/drill/checkers/writes.ts";
import { seededRandom } from "../../src/lib/random.ts";

/**
 * What clients of a correct register would record: every operation takes effect at a moment between
 * its call and its answer, or, its answer lost, at any time later or never.
 */
function registerHistory(options: {
  seed: number;
  clients: number;
  operations: number;
  unknownShare: number;
}): HistoryOperation[] {
  const random = seededRandom(options.seed);
  type Call = {
    client: number;
    value: string;
    calledAt: number;
    takesAt: number;
    answeredAt: number | undefined;
    kind: number;
  };
  const calls = Array.from({ length: options.clients }, (_, client) => {
    let now = random.float();
    return Array.from({ length: options.operations }, (_, index): Call => {
      const calledAt = now;
      const unknown = random.float() < options.unknownShare;
      const takesAt = calledAt + random.float() * (unknown ? 200 : 3);
      const answeredAt = unknown ? undefined : takesAt + random.float() * 3;
      now = (answeredAt ?? calledAt + 5) + random.float() * 4;
      return {
        client,
        value: `${client}.${index}`,
        calledAt,
        takesAt,
        answeredAt,
        kind: random.integer(3),
      };
    });
  }).flat();
  let state: string | undefined;
  let known: string | undefined;
  return calls
    .sort((a, b) => a.takesAt - b.takesAt)
    .flatMap(({ client, value, calledAt, answeredAt, kind }): HistoryOperation[] => {
      const base = { client, key: "k", calledAt, answeredAt };
      const never = answeredAt === undefined && random.integer(2) === 0;
      if (kind === 0) {
        known = state;
        return [{ ...base, type: "read", value: state }];
      }
      if (kind === 1) {
        if (!never) state = value;
        return [{ ...base, type: "write", value }];
      }
      const expected = random.integer(2) === 0 ? known : state;
      const swapped = expected === state;
      const found = swapped ? {} : { found: { value: state } };
      if (swapped && !never) state = value;
      return [
        answeredAt === undefined
          ? { ...base, type: "cas", expected, value, swapped: undefined }
          : { ...base, type: "cas", expected, value, swapped, ...found },
      ];
    });
}

const long = { clients: 6, operations: 200, unknownShare: 0.03 };

for (const seed of [1]) {
  test(`a long history of one register with hundreds of unknown outcomes is proved (seed ${seed})`, () => {
    const history = registerHistory({ seed, ...long });
    assert.ok(history.filter(({ answeredAt }) => answeredAt === undefined).length > 15);
    assert.deepEqual(checkLinearizable(history), []);
  });

  test(`one stale read in such a history is found, with the operations around it (seed ${seed})`, () => {
    const history = registerHistory({ seed, ...long }).sort((a, b) => a.calledAt - b.calledAt);
    const reads = history.filter(
      (operation) => operation.type === "read" && operation.answeredAt !== undefined,
    );
    const at = reads[Math.floor(reads.length / 2)];
    assert.ok(at);
    const early = reads[3];
    assert.ok(early?.type === "read");
    const planted = history.map((operation) =>
      operation === at ? ({ ...at, type: "read", value: early.value } as const) : operation,
    );
    const [finding] = checkLinearizable(planted);
    assert.equal(finding?.verdict, "violated");
    assert.ok(finding.operations.length <= 50);
  });

  test(`one acknowledged write that never happened is found (seed ${seed})`, () => {
    const history = registerHistory({ seed, ...long });
    const ghost = history.findLast(({ answeredAt }) => answeredAt !== undefined);
    const end = Math.max(...history.map(({ answeredAt, calledAt }) => answeredAt ?? calledAt));
    assert.ok(ghost);
    const last = { client: 99, key: "k" };
    const planted: HistoryOperation[] = [
      ...history,
      { ...last, type: "write", value: "lost", calledAt: end + 1000, answeredAt: end + 1001 },
      { ...last, type: "read", value: ghost.value, calledAt: end + 1002, answeredAt: end + 1003 },
    ];
    assert.equal(checkLinearizable(planted).length, 1);
  });

  test(`a transaction that ran twice is found (seed ${seed})`, () => {
    const history = registerHistory({ seed, ...long });
    const end =
      Math.max(...history.map(({ answeredAt, calledAt }) => answeredAt ?? calledAt)) + 1000;
    const by = { client: 99, key: "k" };
    const planted: HistoryOperation[] = [
      ...history,
      { ...by, type: "write", value: "once", calledAt: end, answeredAt: end + 1 },
      { ...by, type: "write", value: "after", calledAt: end + 2, answeredAt: end + 3 },
      { ...by, type: "read", value: "after", calledAt: end + 4, answeredAt: end + 5 },
      // The first write, sent again by a client that thought it lost.
      { ...by, type: "read", value: "once", calledAt: end + 6, answeredAt: end + 7 },
    ];
    assert.equal(checkLinearizable(planted).length, 1);
  });
}

test("what grows beyond the bound is undecided, which is not proved", () => {
  const wide = Array.from({ length: 14 }, (_, client): HistoryOperation => ({
    client,
    key: "k",
    type: "write",
    value: `${client}`,
    calledAt: 0,
    answeredAt: 10,
  }));
  const findings = checkLinearizable(
    [
      ...wide,
      { client: 20, key: "k", type: "read", value: "nobody's", calledAt: 1, answeredAt: 9 },
    ],
    { positionsMax: 1000 },
  );
  assert.deepEqual(
    findings.map(({ verdict }) => verdict),
    ["undecided"],
  );
});

const hold = (
  client: number,
  token: number,
  [calledAt, answeredAt, provedUntil]: [number, number, number],
): Hold => ({ client, lock: "l", token, calledAt, answeredAt, provedUntil });
const guarded = (
  client: number,
  token: number,
  calledAt: number,
  outcome: GuardedWrite["outcome"],
  revision?: number,
): GuardedWrite => ({
  client,
  lock: "l",
  token,
  calledAt,
  answeredAt: outcome === "unknown" ? undefined : calledAt + 1,
  outcome,
  ...(revision === undefined ? {} : { revision }),
});
const whats = (findings: readonly { what: string }[]) => findings.map(({ what }) => what);

test("locks handed on one after another, with late writes refused, are well", () => {
  const holds = [hold(1, 5, [0, 2, 10]), hold(2, 9, [3, 11, 20]), hold(1, 12, [12, 21, 30])];
  const writes = [
    guarded(1, 5, 4, "done", 6),
    guarded(1, 5, 13, "refused"),
    guarded(2, 9, 14, "done", 10),
    guarded(1, 5, 15, "unknown"),
    guarded(1, 12, 22, "done", 13),
  ];
  assert.deepEqual(checkLocks({ holds, writes }), []);
});

test("a double lock is found: two proofs at once", () => {
  const holds = [hold(1, 5, [0, 2, 10]), hold(2, 9, [3, 8, 20])];
  assert.deepEqual(whats(checkLocks({ holds, writes: [] })), ["two-holders"]);
  // Also behind a short one in between.
  const behind = [hold(1, 5, [0, 2, 30]), hold(2, 9, [3, 8, 9]), hold(3, 11, [3, 10, 11])];
  assert.equal(checkLocks({ holds: behind, writes: [] }).length, 2);
});

test("who hears of its lock when its lease may be over has claimed nothing", () => {
  const holds = [hold(1, 5, [0, 12, 4]), hold(2, 9, [3, 8, 20])];
  assert.deepEqual(checkLocks({ holds, writes: [] }), []);
});

test("a token that does not grow, or is given twice, is found", () => {
  assert.deepEqual(
    whats(checkLocks({ holds: [hold(1, 9, [0, 1, 2]), hold(2, 7, [3, 4, 5])], writes: [] })),
    ["token-not-greater"],
  );
  assert.deepEqual(
    whats(checkLocks({ holds: [hold(1, 9, [0, 3, 4]), hold(2, 9, [1, 5, 6])], writes: [] })),
    ["token-not-greater"],
  );
});

test("a write of a paused holder that is accepted after all is found, by time and by revision", () => {
  const holds = [hold(1, 5, [0, 2, 10]), hold(2, 9, [3, 11, 20])];
  assert.deepEqual(whats(checkLocks({ holds, writes: [guarded(1, 5, 12, "done")] })), [
    "older-token-accepted",
  ]);
  const raced = [guarded(2, 9, 12, "done", 30), guarded(1, 5, 9, "done", 31)];
  assert.deepEqual(whats(checkLocks({ holds, writes: raced })), ["older-token-accepted"]);
});

test("acknowledged writes: lost, doubled, changed, refused but stored, never written are told apart", () => {
  const created = [
    { client: 1, key: "a", value: "1", outcome: "done" },
    { client: 1, key: "b", value: "1", outcome: "done" },
    { client: 1, key: "c", value: "1", outcome: "done" },
    { client: 1, key: "d", value: "1", outcome: "refused" },
    { client: 1, key: "e", value: "1", outcome: "unknown" },
    { client: 1, key: "f", value: "1", outcome: "unknown" },
    { client: 1, key: "g", value: "1", outcome: "done" },
  ] as const;
  const right = [
    { key: "a", value: "1", version: 1 },
    { key: "b", value: "1", version: 1 },
    { key: "c", value: "1", version: 1 },
    { key: "f", value: "1", version: 1 },
    { key: "g", value: "1", version: 1 },
  ];
  assert.deepEqual(checkWrites(created, right), []);
  const wrong = [
    { key: "a", value: "1", version: 2 },
    { key: "b", value: "2", version: 1 },
    { key: "d", value: "1", version: 1 },
    { key: "g", value: "1", version: 1 },
    { key: "z", value: "1", version: 1 },
  ];
  assert.deepEqual(whats(checkWrites(created, wrong)).sort(), [
    "changed",
    "doubled",
    "lost",
    "never-written",
    "refused-but-stored",
  ]);
});

test("a watch that misses, repeats, reorders or changes a revision is found; what it never promised is not", () => {
  const write = (revision: number, value = `${revision}`) => ({ revision, key: "k", value });
  const acknowledged = [3, 5, 7, 9].map((revision) => write(revision));
  const run = (deliveries: readonly { revision: number; key: string; value: string }[]) =>
    checkWatches([{ watcher: "w", after: 3, upTo: 8, deliveries }], acknowledged);
  assert.deepEqual(run([write(5), write(6), write(7)]), []);
  assert.deepEqual(whats(run([write(7)])), ["missed"]);
  assert.deepEqual(whats(run([write(5), write(7), write(7)])), ["twice"]);
  assert.deepEqual(whats(run([write(7), write(5)])), ["out-of-order"]);
  assert.deepEqual(whats(run([write(5, "else"), write(7)])), ["other-value"]);
});
