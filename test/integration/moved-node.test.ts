/** Nodes whose addresses changed: they call those who look for them elsewhere, and say where they are. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createWhereabouts, type Whereabouts } from "../../src/agent/whereabouts.ts";
import { startWhereaboutsPath } from "../../src/agent/paths/whereabouts-path.ts";
import { endpointsOf, nodeKind, type Node } from "../../src/api/index.ts";
import { temporaryFolder } from "../support/ledger.ts";
import { nodeAt, startLinkedNode, type LinkedNodeOptions } from "../support/linked-node.ts";
import type { Link } from "../../src/transport/index.ts";
import { testCell, testDeps } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const cell = await testCell("mill");
const patience = { timeoutMs: 30_000 };

type Options = Omit<LinkedNodeOptions, "dataDir" | "through">;

async function startNode(t: TestContext, dir: string, options: Options) {
  const { name, host } = options;
  let whereabouts: Whereabouts | undefined;
  const node = await startLinkedNode(t, cell, {
    ...options,
    dataDir: join(dir, name),
    through: (plain) => (whereabouts = createWhereabouts(testDeps, plain)).mirrored,
  });
  assert.ok(whereabouts);
  let nodes: readonly Node[] = [];
  node.mirrored.follow(nodeKind, (now: readonly Node[]) => (nodes = now));
  const ports = { api: 7443, mesh: 7444, peers: node.links.port, ingress: 8080 };
  await startWhereaboutsPath(node.ground, {
    whereabouts,
    links: node.links,
    trustDomain: cell.trust.trustDomain,
    place: { host, ports },
  });
  return {
    ...node,
    at: nodeAt(name, host, node.links.port),
    /** Where it looks for another one. */
    hostOf: (other: string) =>
      nodes.flatMap((one) => endpointsOf(one) ?? []).find((one) => one.node === other)?.host,
  };
}

const lost = (name: string, host: string) => nodeAt(name, host, 7445);

test("a worker whose name comes first learns from the server itself where that is now", async (t) => {
  await using dir = await temporaryFolder();
  const worker = await startNode(t, dir.path, { name: "n1", host: "127.0.46.31", role: "worker" });
  const server = await startNode(t, dir.path, { name: "n9", host: "127.0.46.49", role: "server" });
  worker.tell([worker.at, lost("n9", "127.0.46.39")]);
  server.tell([worker.at, server.at]);

  await waitFor(() => worker.hostOf("n9") === "127.0.46.49", {
    what: "the worker to look for the server where it is",
    ...patience,
  });
  // What desired state says later holds again.
  worker.tell([worker.at, lost("n9", "127.0.46.59")]);
  assert.equal(worker.hostOf("n9"), "127.0.46.59");
});

test("a worker that moved while no server answers calls the workers that should call it", async (t) => {
  await using dir = await temporaryFolder();
  const first = await startNode(t, dir.path, { name: "n1", host: "127.0.47.31", role: "worker" });
  /** Of n2: its own call comes before any other, since nobody knows where it is. */
  const links: Link[] = [];
  const moved = await startNode(t, dir.path, {
    ...{ name: "n2", host: "127.0.47.42", role: "worker" },
    hasMoved: true,
    onPeer: (link) => void links.push(link),
  });
  const before = lost("n2", "127.0.47.32");
  first.tell([first.at, before]);
  moved.tell([first.at, before]);
  await waitFor(() => first.hostOf("n2") === "127.0.47.42", {
    what: "n1 to know where n2 is",
    ...patience,
  });
  // One link is enough: n1 calls by itself from then on, and n2 hangs up.
  await waitFor(() => links[0]?.closed.aborted, { what: "n2 to hang up", ...patience });
  await waitFor(() => first.links.linkTo("n2"), { what: "the link of n1", ...patience });
});

test("two nodes that both moved find each other by a pointer to one of them", async (t) => {
  await using dir = await temporaryFolder();
  const server = await startNode(t, dir.path, { name: "n1", host: "127.0.48.41", role: "server" });
  let served = 0;
  const worker = await startNode(t, dir.path, {
    ...{ name: "n2", host: "127.0.48.42", role: "worker" },
    hasMoved: true,
    pointer: server.links.address,
    onPointerServed: () => void served++,
  });
  const before = [lost("n1", "127.0.48.31"), lost("n2", "127.0.48.32")];
  worker.tell(before);
  server.tell([server.at, ...before.slice(1)]);
  await waitFor(() => worker.hostOf("n1") === "127.0.48.41", {
    what: "the worker to know where the server is",
    ...patience,
  });
  await waitFor(() => server.hostOf("n2") === "127.0.48.42", {
    what: "the server to know where the worker is",
    ...patience,
  });
  await waitFor(() => served === 1, { what: "the pointer to be let go of", ...patience });
  await waitFor(() => server.links.linkTo("n2"), { what: "a link without it", ...patience });
  assert.deepEqual(worker.links.linked(), ["n1"]);
});
