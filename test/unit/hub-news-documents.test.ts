/** Two nodes with documents, of which one reaches the hub: the other hears what it has, in virtual time. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  connectDocumentHub,
  createDocumentsSync,
  createDocumentWrites,
  createHubNews,
  createReplication,
  encodeLeaving,
  encodeLeavingSnapshot,
  openDocumentStore,
  openGlobalDocuments,
  registerGlobalDocuments,
  wordOfDocuments,
  type CollectionDeclaration,
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
import { temporaryFolder } from "../support/data.ts";
import { put } from "../support/documents.ts";

type Bytes = Cleared<Uint8Array>;
const trustDomain = "cell-a.skerry";
const collection = (name: string, revision = 1, priority = 0): CollectionDeclaration => ({
  name,
  schemaVersion: 1,
  onMismatch: "refuse",
  fields: [],
  egress: { policy: { drop: [] }, revision },
  priority,
});

async function openCell(t: TestContext) {
  const folder = temporaryFolder();
  const clock = createSimulatedClock();
  const random = seededRandom(4);
  const log = silentLog;
  const hub = openGlobalDocuments(
    { clock, random, log, recheck: createOperationRecheck() },
    { path: join(folder.path, "hub.db") },
  );
  const hubRouter = virtualRouter();
  registerGlobalDocuments(hubRouter, { clock, store: hub }, () => "a");
  const link = (left: object, right: object) =>
    virtualLink({ clock, random, faults: () => noFaults }, { left, right } as never);
  const openNode = async (node: string) => {
    const store = openDocumentStore(
      { clock, random, log },
      { path: join(folder.path, `${node}.db`), node },
    );
    const gate = createOperationGate({
      encode: encodeLeaving,
      encodeSnapshot: encodeLeavingSnapshot,
      log,
    });
    const router = virtualRouter();
    const replication = createReplication(
      { store, clock, random, log },
      { node, trustDomain, methods: "documents" },
    );
    replication.register(router);
    const sync = createDocumentsSync<Bytes>(
      {
        store,
        egress: {
          async clear({ collections, ...query }) {
            const piece = store.readLeaving(query);
            return piece && gate.clear(piece, collections);
          },
          clearSnapshot: async () => undefined,
        },
        lets: createOperationRecheck().lets,
        clock,
        random,
        log,
      },
      { node },
    );
    const news = createHubNews(
      { word: wordOfDocuments(sync), clock, log },
      { methods: "documents", trustDomain },
    );
    news.register(router);
    const writes = createDocumentWrites({
      store,
      peers: replication,
      hub: sync,
      cellNodes: () => 2,
      clock,
    });
    t.after(async () => {
      for (const part of [replication, sync, news, writes]) part.stop();
      await store.close();
    });
    const end = { peer: peerOf(trustDomain, "node", node), router };
    return {
      end,
      replication,
      sync,
      news,
      async declare(collections: readonly CollectionDeclaration[]) {
        gate.setPolicies(
          Object.fromEntries(collections.flatMap(({ name, egress }) => [[name, egress!]])),
        );
        await store.declare(collections);
        sync.declare(collections);
      },
      /** Within a virtual half minute; else it goes on waiting. */
      async write(name: string, id: string) {
        const end = { state: "waiting" };
        void writes
          .write([put(id, { n: 1 }, name)], { level: { level: "hub" }, timeoutMs: 3_600_000 })
          .then((outcome) => (end.state = outcome.state));
        for (let step = 0; end.state === "waiting" && step < 60; step++) await clock.advance(500);
        return end.state;
      },
    };
  };
  const [one, two] = [await openNode("n1"), await openNode("n2")];
  const between = link(one.end, two.end);
  for (const [node, own] of [
    [one, between.left],
    [two, between.right],
  ] as const) {
    node.replication.attach(own);
    node.news.attach(own);
  }
  const uplink = link(one.end, {
    peer: peerOf("hub.skerry", "hub", "main"),
    router: hubRouter,
  });
  one.sync.attach(connectDocumentHub<Bytes>(uplink.left), uplink.left.closed);
  t.after(async () => {
    between.cut();
    uplink.cut();
    await hub.close();
    folder[Symbol.dispose]();
  });
  return { clock, one, two, uplink };
}

test("D6: documents of a node without a link to the hub reach its level there, of a higher priority too", async (t) => {
  const { clock, one, two, uplink } = await openCell(t);
  const all = [collection("items"), collection("alarms", 1, 5)];
  for (const node of [one, two]) await node.declare(all);
  let told = 0;
  two.sync.on("vector", () => told++);
  assert.equal(await two.write("items", "a"), "reached");
  assert.ok(told > 0, "whoever waits for it is told");
  assert.equal(await two.write("alarms", "b"), "reached");
  // What the one track goes past, the other is behind.
  for (let second = 0; second < 15; second++) await clock.advance(1000);
  assert.equal(await two.sync.backlog(), 0);
  uplink.cut();
  assert.equal(await two.write("items", "c"), "waiting");
  assert.equal(await two.sync.backlog(), 1);
});

test("D6: what the hub has by another policy is not told as what it has by this one", async (t) => {
  const { one, two } = await openCell(t);
  await one.declare([collection("items", 1)]);
  await two.declare([collection("items", 2)]);
  assert.equal(await two.write("items", "a"), "waiting");
  await one.declare([collection("items", 2)]);
  assert.equal(await two.write("items", "b"), "reached");
});
