/** Collections with a priority go to the hub before the others, whatever waits. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  connectDocumentHub,
  createDocumentsSync,
  createDocumentWrites,
  createHubBudget,
  encodeLeaving,
  encodeLeavingSnapshot,
  openDocumentStore,
  openGlobalDocuments,
  registerGlobalDocuments,
  type CollectionDeclaration,
  type DocumentEgress,
} from "../../src/data/index.ts";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import {
  createOperationGate,
  createOperationRecheck,
  type Cleared,
} from "../../src/privacy/gate/index.ts";
import { range, temporaryFolder } from "../support/data.ts";
import { put, truncate, write } from "../support/documents.ts";

type Bytes = Cleared<Uint8Array>;
const collection = (name: string, priority?: number): CollectionDeclaration => ({
  name,
  schemaVersion: 1,
  onMismatch: "refuse",
  fields: [],
  egress: { policy: { drop: [] }, revision: 1 },
  ...(priority === undefined ? {} : { priority }),
});
const bytesPerSecond = 3000;

/** One node and a hub in virtual time, with a budget; `pushed` has the bytes of every batch. */
async function openNode(t: TestContext, declared: readonly CollectionDeclaration[]) {
  const folder = temporaryFolder();
  const clock = createSimulatedClock();
  const random = seededRandom(1);
  const log = silentLog;
  const store = openDocumentStore(
    { clock, random, log },
    { path: join(folder.path, "n1.db"), node: "n1" },
  );
  const hub = openGlobalDocuments(
    { clock, random, log, recheck: createOperationRecheck() },
    { path: join(folder.path, "hub.db") },
  );
  const gate = createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log,
  });
  const pushed: { bytes: number; collections: readonly string[] }[] = [];
  const router = virtualRouter();
  registerGlobalDocuments(
    router,
    {
      clock,
      store: {
        feeds: (cell, wishes) => hub.feeds(cell, wishes),
        fill: (cell, bytes) => hub.fill(cell, bytes),
        pull: (query) => hub.pull(query),
        on: (event, listener) => hub.on(event, listener),
        async ingest(cell, bytes) {
          const states = await hub.ingest(cell, bytes);
          pushed.push({ bytes: bytes.length, collections: Object.keys(states) });
          return states;
        },
      },
    },
    () => "a",
  );
  const egress: DocumentEgress<Bytes> = {
    async clear({ collections, ...query }) {
      const piece = store.readLeaving(query);
      return piece && gate.clear(piece, collections);
    },
    async clearSnapshot(query) {
      const piece = store.readLeavingSnapshot(query);
      return piece && gate.clearSnapshot(piece, query.collection);
    },
  };
  const keeper = { read: async () => undefined, write: async () => undefined };
  const budget = createHubBudget({ clock, log, keeper }, { bytesPerSecond });
  await budget.open();
  const sync = createDocumentsSync<Bytes>(
    { store, egress, lets: createOperationRecheck().lets, clock, random, log },
    { node: "n1", budget },
  );
  const declare = async (now: readonly CollectionDeclaration[]) => {
    gate.setPolicies(
      Object.fromEntries(now.flatMap((each) => (each.egress ? [[each.name, each.egress]] : []))),
    );
    await store.declare(now);
    sync.declare(now);
  };
  await declare(declared);
  const link = virtualLink(
    { clock, random, faults: () => noFaults },
    {
      left: { peer: peerOf("a.skerry", "hub", "hub"), router: virtualRouter() },
      right: { peer: peerOf("a.skerry", "node", "n1"), router },
    },
  );
  const writes = createDocumentWrites({
    store,
    peers: { vectorsByNode: () => new Map(), on: () => () => undefined },
    hub: sync,
    cellNodes: () => 1,
    clock,
  });
  t.after(async () => {
    link.cut();
    sync.stop();
    writes.stop();
    await Promise.all([store.close(), hub.close()]);
    folder[Symbol.dispose]();
  });
  return {
    clock,
    store,
    pushed,
    declare,
    writes,
    connect: () => sync.attach(connectDocumentHub<Bytes>(link.left), link.left.closed),
    async atHub(name: string): Promise<number> {
      const collections = await hub.collections("a");
      return collections.find((each) => each.name === name)?.documents ?? 0;
    },
  };
}
type Node = Awaited<ReturnType<typeof openNode>>;

/** Text that does not compress away. */
const words = seededRandom(7);
const noise = () => Array.from({ length: 24 }, () => words.integer(2 ** 32).toString(36)).join(" ");
async function fillUp({ store }: Node, name: string, documents: number): Promise<void> {
  for (let first = 0; first < documents; first += 10)
    await write(
      store,
      ...range(first, first + 9).map((n) => put(`d${n}`, { n, noise: noise() }, name)),
    );
}
const alarm = (node: Node, id: string) =>
  node.writes.write([put(id, { what: "smoke" }, "alarms")], {
    level: { level: "hub" },
    timeoutMs: 30_000,
  });

test("M21: a collection of a higher priority goes ahead of a backlog, reaches its level, and nothing is left behind", async (t) => {
  const node = await openNode(t, [
    collection("alarms", 10),
    collection("bulk"),
    collection("archive", -1),
  ]);
  await fillUp(node, "archive", 300);
  await fillUp(node, "bulk", 1500);
  node.connect();
  for (let second = 0; (await node.atHub("bulk")) === 0 && second < 60; second++)
    await node.clock.advance(1000);
  const early = await node.atHub("bulk");
  assert.ok(early > 0 && early < 1500, `${early} documents to begin with`);
  assert.equal(await node.atHub("archive"), 0, "the lower waits");
  for (let n = 0; n < 3; n++) {
    const before = node.pushed.length;
    const written = alarm(node, `a${n}`);
    for (let second = 0; second < 30; second++) await node.clock.advance(1000);
    const outcome = await written;
    assert.deepEqual(
      [outcome.state, outcome.state === "reached" && outcome.reached.level],
      ["reached", "hub"],
    );
    const behind = node.pushed
      .slice(before)
      .findIndex(({ collections }) => collections.includes("alarms"));
    assert.ok(behind >= 0 && behind <= 10, `behind ${behind} batches`);
    if (n === 0) assert.ok((await node.atHub("bulk")) < 1500, "the backlog still waits");
  }
  for (let turn = 0; (await node.atHub("archive")) < 300 && turn < 60; turn++)
    await node.clock.advance(10_000);
  assert.deepEqual(
    await Promise.all(["alarms", "bulk", "archive"].map((name) => node.atHub(name))),
    [3, 1500, 300],
  );
  const seconds = node.clock.monotonicMs() / 1000;
  const sent = node.pushed.reduce((sum, { bytes }) => sum + bytes, 0);
  assert.ok(sent <= bytesPerSecond * seconds + 200_000, `${sent} bytes in ${seconds} s`);
  const most = Math.max(...node.pushed.map(({ bytes }) => bytes));
  assert.ok(most <= 8192, `${most} bytes at once`);
});

test("M21: after a long time without a hub an alarm is there before the backlog, in a few messages", async (t) => {
  const node = await openNode(t, [collection("bulk"), collection("alarms", 5)]);
  await fillUp(node, "bulk", 1500);
  const written = alarm(node, "a1");
  node.connect();
  for (let second = 0; second < 30; second++) await node.clock.advance(1000);
  assert.equal((await written).state, "reached");
  const upTo = node.pushed.findLastIndex(({ collections }) => collections.includes("alarms"));
  const alarms = node.pushed
    .slice(0, upTo + 1)
    .filter((each) => each.collections.includes("alarms"));
  assert.ok(alarms.length <= 20, `${alarms.length} messages`);
  assert.ok((await node.atHub("bulk")) < 1500, "the backlog still waits");
});

test("M21: a priority that is declared later, and taken back, loses nothing; a forgotten log is no obstacle", async (t) => {
  const node = await openNode(t, [collection("bulk"), collection("alarms")]);
  await fillUp(node, "bulk", 300);
  await write(node.store, put("a0", {}, "alarms"));
  node.connect();
  await node.clock.advance(3000);
  await node.declare([collection("bulk"), collection("alarms", 3)]);
  await write(node.store, put("a1", {}, "alarms"));
  await node.clock.advance(5000);
  await node.declare([collection("bulk", 7), collection("alarms")]);
  await write(node.store, put("a2", {}, "alarms"), put("last", {}, "bulk"));
  const isThere = async () =>
    (await node.atHub("bulk")) === 301 && (await node.atHub("alarms")) === 3;
  for (let turn = 0; !(await isThere()) && turn < 60; turn++) await node.clock.advance(5000);
  assert.ok(await isThere());
  await truncate(node.store);
  await node.declare([collection("bulk", 7), collection("alarms"), collection("late", 9)]);
  await write(node.store, put("l1", {}, "late"));
  for (let turn = 0; (await node.atHub("late")) < 1 && turn < 60; turn++)
    await node.clock.advance(5000);
  assert.equal(await node.atHub("late"), 1);
});
