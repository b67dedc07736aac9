/** A server restored under another name and address: workers that should dial it look for it elsewhere. */
import { strict as assert } from "node:assert";
import { mkdirSync } from "node:fs";
import { test, type TestContext } from "node:test";
import { join } from "node:path";
import { historyPath } from "../../src/agent/data-folder.ts";
import { startHistoryPath } from "../../src/agent/paths/history-path.ts";
import { signHistory, type SignedHistory } from "../../src/identity/index.ts";
import { readRecord, writeRecord } from "../../src/runtime/files/index.ts";
import { temporaryFolder } from "../support/ledger.ts";
import { nodeAt, startLinkedNode } from "../support/linked-node.ts";
import { testCell } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const cell = await testCell("mill");
const patience = { timeoutMs: 30_000 };

/** A node's links and its ear for another history. */
async function startNode(
  t: TestContext,
  options: { name: string; host: string; role: "server" | "worker"; dataDir: string },
) {
  const { ground, identity, mirrored, links, tell } = await startLinkedNode(t, cell, options);
  const learnt: string[] = [];
  await startHistoryPath(ground, {
    state: { ledger: undefined, mirrored, learnServer: (api) => void learnt.push(api) },
    identity,
    links,
    restart: () => assert.fail("nobody steps down here"),
  });
  return { links, learnt, tell };
}

test("B9: a worker whose name comes first hears of a server restored under another name and address", async (t) => {
  await using dir = await temporaryFolder();
  const claim = {
    trustDomain: cell.trust.trustDomain,
    generation: 1,
    epoch: "e2",
    atMs: 1000,
    node: "n9",
    api: "127.0.44.39:7443",
  };
  const told = join(dir.path, "n9");
  mkdirSync(told);
  mkdirSync(join(dir.path, "n1"));
  writeRecord(historyPath(told), signHistory(cell.authority.signer.key.keyPem, claim));
  const at = (name: string) => ({ name, dataDir: join(dir.path, name) });
  const worker = await startNode(t, { ...at("n1"), host: "127.0.44.31", role: "worker" });
  const server = await startNode(t, { ...at("n9"), host: "127.0.44.39", role: "server" });

  const lost = nodeAt("n5", "127.0.44.35", 7445);
  const itself = nodeAt("n1", "127.0.44.31", worker.links.port);
  worker.tell([lost, itself]);
  server.tell([lost, itself]);
  await waitFor(() => worker.learnt.length > 0, {
    what: "word of the restored server",
    ...patience,
  });
  assert.deepEqual(worker.learnt, [claim.api]);
  const kept = readRecord(historyPath(join(dir.path, "n1"))) as SignedHistory;
  assert.deepEqual(kept.claim, claim, "it is kept for the next start");

  // It follows, learns the way, and calls by itself from then on.
  const called = worker.links.linkTo("n9");
  worker.tell([lost, itself, nodeAt("n9", "127.0.44.39", server.links.port)]);
  await waitFor(() => called?.closed.aborted, { what: "the server to hang up", ...patience });
  await waitFor(() => worker.links.linkTo("n9"), { what: "the worker's own link", ...patience });
  assert.deepEqual(server.links.linked(), ["n1"]);
});

test("B9: a worker that joined after the backup was made calls whom it knows, and hears of the restored server", async (t) => {
  await using dir = await temporaryFolder();
  const claim = {
    trustDomain: cell.trust.trustDomain,
    generation: 1,
    epoch: "e2",
    atMs: 1000,
    node: "n3",
    api: "127.0.44.33:7443",
  };
  const told = join(dir.path, "n3");
  mkdirSync(told);
  mkdirSync(join(dir.path, "n4"));
  writeRecord(historyPath(told), signHistory(cell.authority.signer.key.keyPem, claim));
  const at = (name: string) => ({ name, dataDir: join(dir.path, name) });
  const worker = await startNode(t, { ...at("n4"), host: "127.0.44.34", role: "worker" });
  // It was a worker when the backup was made, and has never heard of n4.
  const server = await startNode(t, { ...at("n3"), host: "127.0.44.33", role: "server" });

  const lost = nodeAt("n1", "127.0.44.32", 7445);
  worker.tell([lost, nodeAt("n3", "127.0.44.33", server.links.port)]);
  server.tell([lost, nodeAt("n3", "127.0.44.33", server.links.port)]);
  await waitFor(() => worker.learnt.length > 0, {
    what: "word of the restored server",
    ...patience,
  });
  assert.deepEqual(worker.learnt, [claim.api]);
});
