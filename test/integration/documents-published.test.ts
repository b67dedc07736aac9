/** Collections that the hub writes, and those that cells write too: a node, a hub, and a link between them. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import type { DocumentClient } from "../../src/client/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { mirroring, startDocumentsNode } from "../support/documents-node.ts";
import { startHubOfDocuments } from "../support/hub-of-documents.ts";
import { stable } from "../../src/lib/stable.ts";
import { testCell, testPair } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 60_000;

/** What docs/data.md teaches of collections that both write; the cell's name is that of the test. */
const docs = readFileSync(resolve(import.meta.dirname, "../../docs/data.md"), "utf8");
const [, section = ""] = /^## Written on both sides\n(.*?)^## /ms.exec(docs) ?? [];
const [, manifest = ""] = /<<'EOF'\n(.*?)^EOF/ms.exec(section) ?? [];
const { spec } = parse(manifest) as { spec: object };
const [, code = ""] = /^```js\n(.*?)^```/ms.exec(section) ?? [];
const AsyncFunction = (async () => {}).constructor as new (
  ...parts: string[]
) => (documents: DocumentClient) => Promise<void>;
const run = new AsyncFunction("documents", code.replace('"demo"', '"a"'));

test("M13, M18: what is published at the hub is read in the cell, and with the hub gone as well; what both write is at both", async (t) => {
  const folder = temporaryFolder();
  await using pair = await testPair(await testCell());
  const hub = await startHubOfDocuments(join(folder.path, "hub"), pair.acceptor);
  const mirrored = mirroring(["n2"], () => [
    { metadata: { name: "prices", resourceVersion: "3" }, spec: { scope: "hubToCells" } },
    { metadata: { name: "tickets", resourceVersion: "4" }, spec },
  ]);
  const node = await startDocumentsNode({
    folder: folder.path,
    name: "n2",
    trustDomain: "cell-a.skerry",
    mirrored,
    hub: "127.0.0.1:1",
  });
  let isHubUp = true;
  t.after(async () => {
    await node.lifecycle.stop();
    if (isHubUp) await hub.lifecycle.stop();
    folder[Symbol.dispose]();
  });
  const publish = (body: object, name = "prices") =>
    fetch(`${hub.url}/v1/published/${name}`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  assert.equal((await publish({ cellField: "cells" })).status, 400);
  assert.equal((await publish({ cellField: "/cells" })).status, 200);
  await hub.client.put("prices", "bolt-8", { euro: 12, cells: ["a"] });
  await hub.client.put("prices", "nut-8", { euro: 3, cells: ["b"] });
  const { link } = pair.dialled;
  assert.ok(link);
  node.path.attachHub(link);
  const euroOf = async (id: string) =>
    (await node.client.get("prices", id).catch(() => undefined))?.body["euro"];
  await waitFor(async () => (await euroOf("bolt-8")) === 12, { what: "the price", timeoutMs });
  assert.equal(await euroOf("nut-8"), undefined);
  await assert.rejects(node.client.put("prices", "bolt-8", { euro: 1 }), {
    code: "collection-of-hub",
  });

  // Answered as it happens: the question is open.
  await hub.client.merge("prices", "bolt-8", { euro: 13 });
  await waitFor(async () => (await euroOf("bolt-8")) === 13, { what: "the next price", timeoutMs });
  await hub.client.merge("prices", "bolt-8", { cells: ["b"] });
  await hub.client.merge("prices", "nut-8", { cells: ["a", "b"] });
  await waitFor(async () => (await euroOf("nut-8")) === 3, { what: "the other", timeoutMs });
  await waitFor(async () => (await euroOf("bolt-8")) === undefined, {
    what: "it to go",
    timeoutMs,
  });
  assert.equal((await hub.client.get("prices", "bolt-8"))?.body["euro"], 13);
  assert.equal((await hub.client.get("prices", "nut-8", { cell: "a" }))?.cell, "a");

  const wrong = { fromCells: { fields: [{ path: "/hours", type: "blob" }] } };
  assert.equal((await publish(wrong, "tickets")).status, 400);
  const fields = [
    { path: "/hours", type: "counter" },
    { path: "/tags", type: "set" },
  ];
  assert.equal(
    (await publish({ cellField: "/cells", fromCells: { fields } }, "tickets")).status,
    200,
  );
  await run(node.client);
  const ticket = async (client: DocumentClient) =>
    stable((await client.get("tickets", "t1").catch(() => undefined))?.body ?? null);
  await waitFor(
    async () =>
      (await ticket(hub.client)) ===
      '{"cells":["a"],"hours":3,"tags":["urgent"],"title":"door sticks"}',
    { what: "the ticket at the hub", timeoutMs },
  );
  await hub.client.change("tickets", "t1", [{ change: "increment", path: "/hours", by: 4 }]);
  await waitFor(async () => (await ticket(node.client)).includes('"hours":7,"internal":"key'), {
    what: "the hub's hours in the cell",
    timeoutMs,
  });
  const asked = async (body: object) => {
    const answer = await fetch(`${hub.url}/v1/documents/tickets/query`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return { status: answer.status, body: (await answer.json()) as { rows?: object[] } };
  };
  assert.deepEqual((await asked({ where: "hours = 7", fields: ["hours"] })).body.rows, [
    { id: "t1", body: { hours: 7 } },
  ]);
  assert.deepEqual((await asked({ where: "hours = 7", fields: ["hours"], cell: "a" })).body.rows, [
    { cell: "a", id: "t1", body: { hours: 7 } },
  ]);
  assert.equal((await asked({ live: true })).status, 400);
  await hub.client.merge("tickets", "t1", { cells: [] });
  await waitFor(async () => (await ticket(node.client)) === "null", {
    what: "it to go",
    timeoutMs,
  });

  await hub.lifecycle.stop();
  isHubUp = false;
  assert.equal(await euroOf("nut-8"), 3);
});
