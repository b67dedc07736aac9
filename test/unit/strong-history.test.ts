/** Strong documents at several nodes while ledger and links fail, as the linearizability checker sees them. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { strongLedgerOf } from "../../src/agent/strong-ledger.ts";
import type { StrongLedger } from "../../src/data/index.ts";
import { createStrongDocuments } from "../../src/data/strong/documents.ts";
import { checkLinearizable } from "../../src/drill/checkers/linearizability.ts";
import {
  createRemoteCoordination,
  type Coordination,
} from "../../src/ledger/applications/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { unavailableError, withFaults, type TransactFault } from "../support/ledger-faults.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { strongService } from "../support/strong.ts";
import {
  checkLog,
  historyCollection,
  recordStrongHistory,
  type LogOperation,
  type StrongActor,
  type StrongHistory,
} from "../support/strong-history.ts";
import { failingLink, type LinkFault } from "../support/strong-links.ts";

/** Virtual, and all chance is drawn from seeds: a seed is one history, however the machine is loaded. */
const clock = createSimulatedClock();

/** What comes late comes at any time, or not before all is over. */
function lateness(random: Random) {
  const waiting: (() => void)[] = [];
  return {
    release() {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.push(resolve);
      return promise;
    },
    pass() {
      if (random.integer(5) === 0) waiting.shift()?.();
    },
  };
}

function ledgerFaults(random: Random): () => TransactFault | undefined {
  const late = lateness(random);
  return () => {
    late.pass();
    switch (random.integer(40)) {
      case 0:
        return { state: "lose-answer" };
      case 1:
        return { state: "lose-request" };
      case 2:
        return { state: "refuse", error: unavailableError() };
      case 3:
        return { state: "apply-later", release: late.release() };
      default:
        return undefined;
    }
  };
}

function linkFaults(random: Random): () => LinkFault | undefined {
  const late = lateness(random);
  return () => {
    late.pass();
    switch (random.integer(60)) {
      case 0:
      case 1:
        return { state: "closed" };
      case 2:
        return { state: "lose-request" };
      case 3:
        return { state: "lose-answer" };
      case 4:
        return { state: "late", release: late.release() };
      default:
        return undefined;
    }
  };
}

/** Two servers with one ledger, and two nodes beyond links to both. */
async function startCell(
  t: TestContext,
  seed: number,
  plant: (ledger: StrongLedger) => StrongLedger = (ledger) => ledger,
): Promise<StrongActor[]> {
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const random = seededRandom(seed);
  const path = join(folder.path, "ledger.db");
  const ledger = openTestLedger({ path, clock, random: seededRandom(seed) });
  t.after(() => ledger.close());
  const servers = ["s1", "s2"].map(() => {
    const transact = ledgerFaults(random);
    const read = () => (random.integer(60) === 0 ? unavailableError() : undefined);
    return strongService(t, withFaults(ledger, { transact, read }), { clock });
  });
  const far = [servers, servers.toReversed()].map((order): Coordination => {
    const links = order.map((server, index) =>
      failingLink(`s${index}`, server, linkFaults(random)),
    );
    return createRemoteCoordination({ servers: () => links, clock });
  });
  return [...servers, ...far].map((coordination) => {
    const strong = createStrongDocuments({
      ledger: plant(strongLedgerOf(coordination)),
      clock,
      random,
    });
    strong.declare([historyCollection]);
    return strong;
  });
}

const record = async (
  nodes: readonly StrongActor[],
  seed: number,
  most = 60,
): Promise<StrongHistory> => {
  const recording = recordStrongHistory(nodes, {
    seed,
    clients: 2,
    keys: 3,
    isOver: (operations) => operations >= most,
    clock,
  });
  const settled = { is: false };
  const settle = () => void (settled.is = true);
  recording.then(settle, settle);
  while (!settled.is) await clock.advance(1);
  return await recording;
};

const found = ({ registers, log, torn }: StrongHistory) => ({
  registers: checkLinearizable(registers),
  log: checkLog(log),
  torn,
});
const nothing = { registers: [], log: [], torn: [] };

for (const seed of [1, 2, 3])
  test(`T1, T2, T3, T5: what clients of four nodes saw is linearizable, whatever is lost (seed ${seed})`, async (t) => {
    const history = await record(await startCell(t, seed), seed);
    for (const [outcome, times] of Object.entries(history.outcomes))
      assert.ok(times > 0, `${outcome}: none, which tests nothing`);
    assert.deepEqual(found(history), nothing);
  });

/** Each write under a key of its own, sent to one node after the other until it is known what became of it. */
function repeating(nodes: readonly StrongActor[]): StrongActor[] {
  let keys = 0;
  return nodes.map((node, at) => ({
    ...node,
    async write(caller, writes) {
      const key = `key-${keys++}`;
      let answer = await node.write(caller, writes, { key, isFirst: true });
      for (let turn = 1; turn < 40 && answer.state === "unknown"; turn++) {
        try {
          const next = nodes[(at + turn) % nodes.length] ?? node;
          answer = await next.write(caller, writes, { key, isFirst: false });
        } catch (error) {
          // This sending changed nothing, which says nothing of the one before.
          if (!(error instanceof SkerryError && error.retryable)) throw error;
        }
      }
      return answer;
    },
  }));
}

for (const seed of [11, 12, 13])
  test(`T8: what is sent again under its key takes effect once, and all of it is linearizable (seed ${seed})`, async (t) => {
    const history = await record(repeating(await startCell(t, seed)), seed);
    const { unknown, ...known } = history.outcomes;
    assert.equal(unknown, 0, "every write was settled");
    for (const [outcome, times] of Object.entries(known))
      assert.ok(times > 0, `${outcome}: none, which tests nothing`);
    assert.deepEqual(found(history), nothing);
  });

test("T8: planted keys that are not held against the ledger are found", async (t) => {
  const nodes = await startCell(t, 14, (ledger) => ({
    ...ledger,
    read: (caller, collection, keys) => ledger.read(caller, collection, keys),
    transact: (caller, collection, { when, changes }) =>
      ledger.transact(caller, collection, { when, changes }),
  }));
  const { log } = found(await record(repeating(nodes), 14, 200));
  assert.ok(
    log.some((problem) => problem.endsWith("was appended twice")),
    log.join("\n"),
  );
});

test("T1: a planted stale read is found", async (t) => {
  let reads = 0;
  const nodes = await startCell(t, 4, (ledger) => {
    const before = new Map<string, Awaited<ReturnType<StrongLedger["read"]>>>();
    return {
      ...ledger,
      async read(caller, collection, keys) {
        const answer = await ledger.read(caller, collection, keys);
        const old = before.get(keys.join());
        before.set(keys.join(), answer);
        return (++reads % 5 === 0 && old) || answer;
      },
    };
  });
  assert.notDeepEqual(found(await record(nodes, 4)).registers, []);
});

test("T5: a planted lost write is found, in documents and in the log", async (t) => {
  let writes = 0;
  const nodes = await startCell(t, 5, (ledger) => ({
    ...ledger,
    async transact(caller, collection, write) {
      if (++writes % 8 !== 0) return await ledger.transact(caller, collection, write);
      const { revision } = await ledger.read(caller, collection, ["00"]);
      return { state: "done", revision };
    },
  }));
  const { registers, log } = found(await record(nodes, 5));
  assert.notDeepEqual(registers, []);
  assert.notDeepEqual(log, []);
});

test("T5: a planted second sending of what may have happened is found", async (t) => {
  // An outcome that is unknown and was done comes with most seeds.
  let twice: readonly string[] = [];
  for (let seed = 6; twice.length === 0 && seed < 16; seed++) {
    const nodes = await startCell(t, seed);
    const eager = nodes.map((node): StrongActor => ({
      ...node,
      async write(caller, writes) {
        const answer = await node.write(caller, writes);
        return answer.state === "unknown" ? await node.write(caller, writes) : answer;
      },
    }));
    const { log } = found(await record(eager, seed));
    twice = log.filter((problem) => problem.endsWith("was appended twice"));
  }
  assert.notDeepEqual(twice, []);
});

test("T2: planted writes without their conditions are found", async (t) => {
  const nodes = await startCell(t, 7, (ledger) => ({
    ...ledger,
    transact: (caller, collection, { changes }) =>
      ledger.transact(caller, collection, { when: [], changes }),
  }));
  const { registers, log } = found(await record(nodes, 7));
  assert.notDeepEqual(registers, []);
  assert.notDeepEqual(log, []);
});

test("T3: a planted batch in two parts is found", async (t) => {
  const nodes = await startCell(t, 8, (ledger) => ({
    ...ledger,
    async transact(caller, collection, { when, changes }) {
      const [first, ...rest] = changes;
      if (!first || rest.length === 0)
        return await ledger.transact(caller, collection, { when, changes });
      const begun = await ledger.transact(caller, collection, { when, changes: [first] });
      if (begun.state !== "done") return begun;
      return await ledger.transact(caller, collection, { when: [], changes: rest });
    },
  }));
  assert.notDeepEqual(found(await record(nodes, 8)).torn, []);
});

test("the checker of appends: what it accepts, and what it finds", () => {
  const append = (value: string, calledAt: number, answeredAt?: number): LogOperation => ({
    client: 0,
    calledAt,
    answeredAt,
    type: "append",
    value,
  });
  const read = (values: string, calledAt: number, answeredAt: number): LogOperation => ({
    client: 1,
    calledAt,
    answeredAt,
    type: "read",
    values: [...values],
  });
  const right: LogOperation[][] = [
    [append("a", 0, 9), append("b", 1, 8), read("", 2, 3), read("b", 4, 5), read("ba", 10, 11)],
    [append("a", 0), read("", 1, 2), read("a", 3, 4)],
    [append("a", 0), read("", 1, 2)],
    [read("", 0, 1), append("a", 2, 3)],
  ];
  for (const history of right) assert.deepEqual(checkLog(history), []);
  const wrong: LogOperation[][] = [
    [append("a", 0, 1), read("", 2, 3)],
    [append("a", 0, 1), read("", 2, 3), read("a", 4, 5)],
    [append("a", 0), read("a", 1, 2), read("", 3, 4)],
    [append("a", 0, 1), append("b", 2, 3), read("ba", 4, 5)],
    [append("a", 0, 1), read("aa", 2, 3)],
    [append("a", 0, 9), append("b", 1, 9), read("a", 2, 3), read("ba", 4, 5)],
    [read("a", 0, 1), append("a", 2, 3)],
    [read("a", 0, 1)],
  ];
  for (const history of wrong) assert.notDeepEqual(checkLog(history), [], JSON.stringify(history));
});
