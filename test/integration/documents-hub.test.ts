/**
 * Documents on their way to the hub: a node with its storage thread, a hub with its own, a link over
 * TLS between them, reads at the hub over HTTP; and every byte that left, looked through.
 */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { parse } from "yaml";
import { type DocumentClient } from "../../src/client/index.ts";
import type { Handler } from "../../src/transport/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { startHubOfDocuments as startHub } from "../support/hub-of-documents.ts";
import { mirroring, startDocumentsNode } from "../support/documents-node.ts";
import { testCell, testPair } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

/** The manifest and the code that docs/data.md teaches. */
function taught(): { spec: object; run: (documents: DocumentClient) => Promise<string> } {
  const text = readFileSync(resolve(import.meta.dirname, "../../docs/data.md"), "utf8");
  const [, section = ""] = /^## The copy at the hub\n(.*?)^## /ms.exec(text) ?? [];
  const [, manifest = ""] = /<<'EOF'\n(.*?)^EOF/ms.exec(section) ?? [];
  const [, code = ""] = /^```js\n(.*?)^```/ms.exec(section) ?? [];
  const { spec } = parse(manifest) as { spec: object };
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (documents: DocumentClient) => Promise<string>;
  return { spec, run: new AsyncFunction("documents", `${code}; return reached;`) };
}

const secret = "hunter2-4242";
const timeoutMs = 60_000;
const named = (spec: object, revision: number) => ({
  metadata: { name: "items", resourceVersion: String(revision) },
  spec: { scope: "cellsToHub", fields: [{ path: "/stock", type: "counter" }], ...spec },
});

test("P1, M10, D6: what is named leaves, is at the hub when level hub is answered, and nothing else does; egress may change", async (t) => {
  const folder = temporaryFolder();
  await using pair = await testPair(await testCell());
  const left: Uint8Array[] = [];
  /** Handlers of the hub that runs now; every body that arrives is kept. */
  const handlers = new Map<string, Handler>();
  const router = {
    handle: (method: string, handler: Handler) => void handlers.set(method, handler),
  };
  for (const method of ["hub.documents.push", "hub.documents.feeds", "hub.documents.pull"])
    pair.acceptor.handle(method, async (request) => {
      left.push(new Uint8Array(request.body));
      const handler = handlers.get(method);
      assert.ok(handler);
      return (await handler(request)) as Uint8Array;
    });
  let hub = await startHub(join(folder.path, "hub"), router);
  const example = taught();
  let items = named(example.spec, 5);
  const notes = { metadata: { name: "notes", resourceVersion: "6" }, spec: {} };
  const mirrored = mirroring(["n2"], () => [items, notes]);
  const node = await startDocumentsNode({
    folder: folder.path,
    name: "n2",
    trustDomain: "cell-a.skerry",
    mirrored,
    hub: "127.0.0.1:1",
  });
  t.after(async () => {
    await node.lifecycle.stop();
    await hub.lifecycle.stop();
    folder[Symbol.dispose]();
  });
  const { client } = node;
  const write = { durability: "hub", timeoutMs };
  const atHub = async (id = "bolt-8") => await hub.client.get("items", id, { cell: "a" });
  const text = () =>
    left
      .map((bytes) =>
        Buffer.from(bytes.subarray(0, 4)).toString() === "SKP1"
          ? zstdDecompressSync(bytes.subarray(4)).toString()
          : Buffer.from(bytes).toString(),
      )
      .join("\n");

  await waitFor(async () => (await client.put("notes", "n", { text: secret })).changed >= 0, {
    what: "the collections to be declared",
    timeoutMs,
  });
  await client.put("items", "bolt-8", {
    name: "bolt",
    stock: 40,
    price: secret,
    size: { mm: 8, [secret]: 1 },
  });
  // Offline until now: what was written stays and leaves once there is a link.
  const { link } = pair.dialled;
  assert.ok(link);
  node.path.attachHub(link);
  const answer = await client.change(
    "items",
    "bolt-8",
    [
      { change: "increment", path: "/stock", by: -2 },
      { change: "set", path: "/tags", value: [secret] },
    ],
    write,
  );
  assert.equal(answer.reached, "hub");
  assert.deepEqual((await atHub())?.body, { name: "bolt", size: { mm: 8 }, stock: 38 });
  assert.equal(await example.run(client), "hub");
  assert.deepEqual((await atHub())?.body, { name: "bolt", size: { mm: 8 }, stock: 40 });
  const again = { stock: 38, tags: [secret], price: secret };
  assert.equal((await client.merge("items", "bolt-8", again, write)).reached, "hub");
  assert.equal((await atHub())?.version, (await client.get("items", "bolt-8"))?.version);
  await assert.rejects(client.put("notes", "n", {}, write), { code: "level-impossible" });

  // Across cells, and what is wrong with a question.
  const list = async (options: Parameters<DocumentClient["list"]>[1]) => {
    const ids: string[] = [];
    for await (const { cell, id } of hub.client.list("items", options)) ids.push(`${cell}/${id}`);
    return ids;
  };
  assert.deepEqual(await list({}), ["a/bolt-8"]);
  assert.deepEqual(await list({ id: "bolt-8" }), ["a/bolt-8"]);
  assert.deepEqual(await list({ id: "none" }), []);
  await assert.rejects(hub.client.get("items", "bolt-8"), { code: "invalid-query" });
  await assert.rejects(hub.client.get("notes", "n", { cell: "a" }), { code: "collection-unknown" });
  await assert.rejects(list({ cell: "b" }), { code: "collection-unknown" });
  assert.equal(await hub.client.get("items", "none", { cell: "a" }), undefined);
  const { collections } = (await (await fetch(`${hub.url}/v1/documents`)).json()) as {
    collections: unknown[];
  };
  assert.deepEqual(collections, [
    { cell: "a", name: "items", documents: 1, conflicted: 0, waiting: 0, renewing: false },
  ]);

  assert.doesNotMatch(text(), new RegExp(`${secret}|price|tags|notes`));

  // Wider: what was written before is there as well.
  items = named({ egress: { drop: ["price", "size"] } }, 7);
  mirrored.tell();
  await waitFor(async () => (await atHub())?.body["tags"] !== undefined, {
    what: "the wider copy at the hub",
    timeoutMs,
  });
  assert.deepEqual((await atHub())?.body, { name: "bolt", stock: 38, tags: [secret] });
  // The policy goes along, and with it the names that it drops; their values do not.
  assert.doesNotMatch(text(), /\/price|notes/);

  // Narrower, while the hub is started anew: the copy is made by what is let out now.
  await hub.lifecycle.stop();
  hub = await startHub(join(folder.path, "hub"), router);
  items = named({ egress: { keep: ["name"] } }, 9);
  mirrored.tell();
  await waitFor(async () => JSON.stringify((await atHub())?.body) === '{"name":"bolt"}', {
    what: "the narrower copy at the hub",
    timeoutMs,
  });
  const before = left.length;
  assert.equal(
    (await client.merge("items", "bolt-8", { price: 2, name: "b" }, write)).reached,
    "hub",
  );
  assert.deepEqual((await atHub())?.body, { name: "b" });
  left.splice(0, before);
  assert.doesNotMatch(text(), new RegExp(`${secret}|price|stock|tags`));

  // Deleted in the cell, deleted at the hub. Without egress nothing more leaves, and the copy stays.
  assert.equal((await client.delete("items", "bolt-8", write)).reached, "hub");
  assert.equal(await atHub(), undefined);
  await client.put("items", "nut", { name: "nut" }, write);
  items = { metadata: { name: "items", resourceVersion: "11" }, spec: {} } as never;
  mirrored.tell();
  await waitFor(
    async () =>
      await client.put("items", "nut", {}, { ...write, timeoutMs: 100 }).then(
        () => false,
        ({ code }: { code?: string }) => code === "level-impossible",
      ),
    { what: "the collection to be declared without egress", timeoutMs },
  );
  assert.equal(typeof (await atHub("nut"))?.version, "string");
});
