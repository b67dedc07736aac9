/** The checker itself, and the ledger under faults as the checker sees it. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import type { Ledger } from "../../src/ledger/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { unavailableError, withFaults, type TransactFault } from "../support/ledger-faults.ts";
import { recordHistory } from "../support/ledger-history.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import {
  checkLinearizable,
  type HistoryOperation,
} from "../../src/drill/checkers/linearizability.ts";

const at = (calledAt: number, answeredAt: number | undefined) => ({
  client: 0,
  key: "k",
  calledAt,
  answeredAt,
});
const read = (
  value: string | undefined,
  calledAt: number,
  answeredAt: number,
): HistoryOperation => ({
  ...at(calledAt, answeredAt),
  type: "read",
  value,
});
const write = (value: string, calledAt: number, answeredAt?: number): HistoryOperation => ({
  ...at(calledAt, answeredAt),
  type: "write",
  value,
});

test("L1: the checker accepts overlapping operations in any order that fits", () => {
  assert.deepEqual(checkLinearizable([write("a", 0, 5), write("b", 1, 6), read("b", 7, 8)]), []);
  assert.deepEqual(checkLinearizable([write("a", 0, 5), write("b", 1, 6), read("a", 7, 8)]), []);
  assert.deepEqual(
    checkLinearizable([write("a", 0, 9), read(undefined, 1, 2), read("a", 3, 4)]),
    [],
  );
});

test("L1: the checker finds a stale read, a lost write and a read of the future", () => {
  const stale = [write("a", 0, 1), write("b", 2, 3), read("a", 4, 5)];
  const lost = [write("a", 0, 1), read(undefined, 2, 3)];
  const backwards = [write("a", 0, 9), read("a", 1, 2), read(undefined, 3, 4)];
  const future = [read("a", 0, 1), write("a", 2, 3)];
  for (const history of [stale, lost, backwards, future])
    assert.equal(checkLinearizable(history).length, 1);
});

test("L1: the checker lets an unknown write happen later, or never, but not be undone", () => {
  const later = [write("a", 0), read(undefined, 1, 2), read("a", 3, 4)];
  const never = [write("a", 0), read(undefined, 1, 2)];
  const undone = [write("a", 0), read("a", 1, 2), read(undefined, 3, 4)];
  assert.deepEqual(checkLinearizable(later), []);
  assert.deepEqual(checkLinearizable(never), []);
  assert.equal(checkLinearizable(undone).length, 1);
});

test("L1: the checker holds compare-and-set to what it answered", () => {
  const cas = (expected: string | undefined, swapped: boolean | undefined): HistoryOperation => ({
    ...at(2, swapped === undefined ? undefined : 3),
    type: "cas",
    expected,
    value: "b",
    swapped,
  });
  assert.deepEqual(checkLinearizable([write("a", 0, 1), cas("a", true), read("b", 4, 5)]), []);
  assert.deepEqual(checkLinearizable([write("a", 0, 1), cas("x", undefined), read("a", 4, 5)]), []);
  assert.equal(checkLinearizable([write("a", 0, 1), cas("a", false), read("a", 4, 5)]).length, 1);
  assert.equal(checkLinearizable([write("a", 0, 1), cas("x", true), read("b", 4, 5)]).length, 1);
});

async function withLedger(body: (ledger: Ledger) => Promise<void>): Promise<void> {
  await using folder = await temporaryFolder();
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db") });
  try {
    await body(ledger);
  } finally {
    await ledger.close();
  }
}

for (const seed of [1, 2, 3]) {
  test(`L1: unknown outcomes, lost and late writes stay linearizable (seed ${seed})`, () =>
    withLedger(async (ledger) => {
      const random = seededRandom(seed);
      const releases: (() => void)[] = [];
      const fault = (): TransactFault | undefined => {
        switch (random.integer(12)) {
          case 0:
            return { state: "lose-answer" };
          case 1:
            return { state: "lose-request" };
          case 2:
            return { state: "refuse", error: unavailableError() };
          case 3: {
            const { promise, resolve } = Promise.withResolvers<void>();
            releases.push(resolve);
            return { state: "apply-later", release: promise };
          }
          default:
            if (random.integer(4) === 0) releases.shift()?.();
            return undefined;
        }
      };
      const faulty = withFaults(ledger, {
        transact: fault,
        read: () => (random.integer(20) === 0 ? unavailableError() : undefined),
      });
      const history = await recordHistory(faulty, { seed, clients: 5, operations: 40, keys: 4 });
      assert.ok(
        history.some(({ answeredAt }) => answeredAt === undefined),
        "no fault was injected",
      );
      assert.deepEqual(checkLinearizable(history), []);
    }));
}

test("L1: a planted stale read is found in a recorded history", () =>
  withLedger(async (ledger) => {
    let reads = 0;
    const stale: Ledger = {
      ...ledger,
      async get(key, options) {
        const answer = await ledger.get(key, options);
        const { keyValue, revision } = answer;
        if (++reads % 10 !== 0 || !keyValue) return answer;
        // What a follower that lags by one revision of this key would say.
        const atRevision = (keyValue.modRevision - 1) as typeof revision;
        return { ...(await ledger.get(key, { atRevision })), revision };
      },
    };
    const options = { seed: 5, clients: 4, operations: 40, keys: 2 };
    assert.notDeepEqual(checkLinearizable(await recordHistory(stale, options)), []);
  }));

test("L1: a planted lost write is found in a recorded history", () =>
  withLedger(async (ledger) => {
    let writes = 0;
    const forgetful: Ledger = {
      ...ledger,
      async transact(when, then, options) {
        if (++writes % 10 !== 0) return await ledger.transact(when, then, options);
        return { state: "done", revision: (await ledger.status()).revision };
      },
    };
    const options = { seed: 6, clients: 4, operations: 40, keys: 2 };
    assert.notDeepEqual(checkLinearizable(await recordHistory(forgetful, options)), []);
  }));
