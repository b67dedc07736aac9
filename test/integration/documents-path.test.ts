/**
 * The way of documents as an agent has it: collections from the mirror, a real storage thread each,
 * routes over HTTP, and two nodes that replicate over a link.
 */
import { strict as assert } from "node:assert";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Ground } from "../../src/agent/ground.ts";
import type { Mirrored } from "../../src/agent/mirrored.ts";
import { startDocumentsPath, type DocumentsPath } from "../../src/agent/paths/documents-path.ts";
import type { StorageData, StorageThread } from "../../src/agent/storage.ts";
import { createDocuments, type DocumentClient } from "../../src/client/index.ts";
import { collectionKind, nodeKind } from "../../src/api/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { createLifecycle, type Lifecycle } from "../../src/runtime/lifecycle/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import { temporaryFolder } from "../support/data.ts";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
  type VirtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";
import { waitFor } from "../support/wait.ts";

const trustDomain = "cell-a.skerry";
const folder = temporaryFolder();

type Started = {
  readonly name: string;
  readonly lifecycle: Lifecycle;
  readonly router: VirtualRouter;
  readonly path: DocumentsPath;
  readonly client: DocumentClient;
};
const nodes: Started[] = [];

/** As far as this path looks at the mirror: two nodes, one collection. */
const mirrored: Mirrored = {
  follow(kind, listener) {
    const objects: Record<string, readonly object[]> = {
      [nodeKind.kind]: ["n1", "n2"].map((name) => ({ metadata: { name } })),
      [collectionKind.kind]: [
        { metadata: { name: "items" }, spec: { fields: [{ path: "/stock", type: "counter" }] } },
      ],
    };
    setImmediate(() => listener((objects[kind.kind] ?? []) as never));
  },
};

async function start(name: string): Promise<Started> {
  const dataDir = join(folder.path, name);
  mkdirSync(dataDir, { recursive: true });
  const lifecycle = createLifecycle({ clock: systemClock, log: silentLog });
  const storage: StorageThread = await lifecycle.start(
    "storage",
    () =>
      startThread(new URL("../../src/agent/storage.entry.ts", import.meta.url), {
        name: "storage",
        data: {
          dataDir,
          node: name,
          holdsLedger: false,
          logLevel: "warn",
          logPath: join(dataDir, "agent.log"),
        } satisfies StorageData,
      }),
    (part) => part.terminate(),
  );
  const router = virtualRouter();
  const ground = {
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    lifecycle,
    storage,
    router,
    record: { node: name },
  } as unknown as Ground;
  const path = await startDocumentsPath(ground, { mirrored, trustDomain });
  const app = createHttpApp();
  path.routes(app);
  const url = await lifecycle.start(
    "http",
    () => app.listen({ host: "127.0.0.1", port: 0 }),
    () => app.close(),
  );
  return { name, lifecycle, router, path, client: createDocuments({ url }) };
}

function connect(a: Started, b: Started): { cut(): void } {
  const end = ({ name, router }: Started) => ({ peer: peerOf(trustDomain, "node", name), router });
  const link = virtualLink(
    { clock: systemClock, random: systemRandom, faults: () => noFaults },
    { left: end(a), right: end(b) },
  );
  a.path.attachPeer(link.left);
  b.path.attachPeer(link.right);
  return link;
}

before(async () => {
  nodes.push(...(await Promise.all(["n1", "n2"].map(start))));
});
after(async () => {
  for (const { lifecycle } of nodes) await lifecycle.stop();
  folder[Symbol.dispose]();
});

const bodyAt = async ({ client }: Started, id: string) => (await client.get("items", id))?.body;

test("a write reaches the other node before peer(1) is answered; cut off, both go on and meet again", async () => {
  const [first, second] = nodes;
  assert.ok(first && second);
  const what = "the collection to be declared";
  await waitFor(async () => (await first.client.put("items", "a", { stock: 5 })).changed >= 0, {
    what,
  });
  await waitFor(async () => (await second.client.put("items", "b", {})).changed >= 0, { what });
  const link = connect(first, second);
  const written = await first.client.put(
    "items",
    "c",
    { name: "c" },
    { durability: "peer(1)", timeoutMs: 30_000 },
  );
  assert.equal(written.reached, "peer(1)");
  assert.deepEqual(await bodyAt(second, "c"), { name: "c" });
  await waitFor(async () => (await bodyAt(first, "b")) && (await bodyAt(second, "a")), {
    what: "what both wrote before to be everywhere",
  });

  link.cut();
  for (const { client, name } of [first, second]) {
    const count = [{ change: "increment", path: "/stock", by: 10 }] as const;
    assert.equal((await client.change("items", "a", count)).reached, "local");
    await client.merge("items", "c", { name, [name]: true });
  }
  connect(first, second);
  for (const node of nodes)
    await waitFor(async () => (await bodyAt(node, "a"))?.["stock"] === 25, {
      what: `${node.name} to hear of the other's`,
    });
  const [here, there] = await Promise.all(nodes.map(({ client }) => client.get("items", "c")));
  assert.deepEqual(here, there);
  assert.deepEqual([here?.body["n1"], here?.body["n2"]], [true, true]);
  assert.deepEqual(
    here?.conflicts.map(({ path }) => path),
    ["/name"],
  );
});
