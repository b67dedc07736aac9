/**
 * The way of documents as an agent has it: collections from the mirror, a real storage thread each,
 * routes over HTTP, and two nodes that replicate over a link.
 */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, test } from "node:test";
import { parseAllDocuments } from "yaml";
import type { DocumentClient } from "../../src/client/index.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { noFaults, peerOf, virtualLink } from "../../src/drill/simulated/convergence/links.ts";
import { mirroring, startDocumentsNode, type DocumentsNode } from "../support/documents-node.ts";
import { waitFor } from "../support/wait.ts";

const trustDomain = "cell-a.skerry";
const folder = temporaryFolder();

/** What docs/data.md teaches of rules. */
const docs = readFileSync(resolve(import.meta.dirname, "../../docs/data.md"), "utf8");
const [, rules = ""] = /^## Rules between documents\n(.*?)^## /ms.exec(docs) ?? [];
const [, manifests = ""] = /<<'EOF'\n(.*?)^EOF/ms.exec(rules) ?? [];
const [, code = ""] = /^```js\n(.*?)^```/ms.exec(rules) ?? [];
const ruled = parseAllDocuments(manifests).map(
  (each) => each.toJS() as { metadata: { name: string } },
);

const nodes: DocumentsNode[] = [];
const start = (name: string) =>
  startDocumentsNode({
    folder: folder.path,
    name,
    trustDomain,
    mirrored: mirroring(["n1", "n2"], () => [
      { metadata: { name: "items" }, spec: { fields: [{ path: "/stock", type: "counter" }] } },
      ...ruled,
    ]),
  });

let link: { cut(): void };
function connect(a: DocumentsNode, b: DocumentsNode): { cut(): void } {
  const end = ({ name, router }: DocumentsNode) => ({
    peer: peerOf(trustDomain, "node", name),
    router,
  });
  const made = virtualLink(
    { clock: systemClock, random: systemRandom, faults: () => noFaults },
    { left: end(a), right: end(b) },
  );
  a.path.attachPeer(made.left);
  b.path.attachPeer(made.right);
  return made;
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
  link = connect(first, second);
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
  link = connect(first, second);
  for (const node of nodes)
    await waitFor(
      async () => {
        const merged = await bodyAt(node, "c");
        return (await bodyAt(node, "a"))?.["stock"] === 25 && merged?.["n1"] && merged["n2"];
      },
      { what: `${node.name} to hear of the other's` },
    );
  const [here, there] = await Promise.all(nodes.map(({ client }) => client.get("items", "c")));
  assert.deepEqual(here, there);
  assert.deepEqual([here?.body["n1"], here?.body["n2"]], [true, true]);
  assert.deepEqual(
    here?.conflicts.map(({ path }) => path),
    ["/name"],
  );
});

test("M16, M17: rules as docs/data.md has them: refused here, and listed where two met", async () => {
  const [first, second] = nodes;
  assert.ok(first && second);
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (documents: DocumentClient) => Promise<string[]>;
  const problems = await new AsyncFunction("documents", `${code}; return problems;`)(first.client);
  assert.deepEqual(problems, ["value-taken", "reference-missing", "document-referenced"]);
  await waitFor(async () => second.client.get("customers", "c2"), { what: "the customers" });
  link.cut();
  const mail = "new@example.org";
  await first.client.put("customers", "c4", { mail });
  await second.client.put("customers", "c5", { mail });
  await first.client.put("orders", "o3", { customer: "c1" });
  await second.client.delete("customers", "c1");
  connect(first, second);
  const conflicts = async ({ client }: DocumentsNode) => {
    const found: unknown[] = [];
    for (const name of ["customers", "orders"])
      for await (const { id, conflicts } of client.list(name, { conflicted: true }))
        found.push({ id, conflicts });
    return found;
  };
  for (const node of nodes)
    await waitFor(async () => (await conflicts(node)).length === 2, {
      what: `${node.name} to list both`,
    });
  const [here, there] = await Promise.all(nodes.map(conflicts));
  assert.deepEqual(here, there);
});
