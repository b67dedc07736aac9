/**
 * The way of documents as an agent has it: collections from the mirror, a real storage thread each,
 * routes over HTTP, and two nodes that replicate over a link.
 */
import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { noFaults, peerOf, virtualLink } from "../../src/drill/simulated/convergence/links.ts";
import { mirroring, startDocumentsNode, type DocumentsNode } from "../support/documents-node.ts";
import { waitFor } from "../support/wait.ts";

const trustDomain = "cell-a.skerry";
const folder = temporaryFolder();

const nodes: DocumentsNode[] = [];
const start = (name: string) =>
  startDocumentsNode({
    folder: folder.path,
    name,
    trustDomain,
    mirrored: mirroring(["n1", "n2"], () => [
      { metadata: { name: "items" }, spec: { fields: [{ path: "/stock", type: "counter" }] } },
    ]),
  });

function connect(a: DocumentsNode, b: DocumentsNode): { cut(): void } {
  const end = ({ name, router }: DocumentsNode) => ({
    peer: peerOf(trustDomain, "node", name),
    router,
  });
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

const bodyAt = async ({ client }: DocumentsNode, id: string) =>
  (await client.get("items", id))?.body;

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
