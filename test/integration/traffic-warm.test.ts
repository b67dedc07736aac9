/** Connections to other nodes are there before anything is asked of them. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { startRemote } from "../support/traffic-remote.ts";
import { startNodes, type TestNode } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 40_000;

/** Own ends of the open ones to that address (proc(5), net/tcp). */
function connectionsTo(ip: string, port: number): string[] {
  const bytes = ip.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  const address = `${bytes.toReversed().join("")}:${port.toString(16).padStart(4, "0")}`;
  return readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote, state]) => remote === address.toUpperCase() && state === "01")
    .map(([, local = ""]) => local)
    .toSorted();
}

const tableOf = (
  { node, ip, port }: { readonly node: string; readonly ip: string; readonly port: number },
  meshByNode: Record<string, { host: string; port: number }>,
) => ({
  node: "n1",
  hosts: [{ host: "", paths: [{ path: "/", type: "Prefix" as const, backend: 0 }] }],
  defaultBackend: undefined,
  backends: [{ name: "default/web:80", endpoints: [{ node, ip, port }] }],
  served: [],
  meshByNode,
});

test("T12: connections for pings and requests are open before the first request, and carry it", async (t) => {
  const site = await startNodes(["n1"]);
  t.after(() => site.stop());
  const [n1] = site.nodes as [TestNode];
  const n2 = await startRemote(t, site.cell, "n2");
  const { ip, meshPort } = n2;
  const count = () => connectionsTo(ip, meshPort).length;
  await n1.traffic.setTable(
    tableOf(n2, { n1: { host: "127.0.0.11", port: 1 }, n2: { host: ip, port: meshPort } }),
  );
  await waitFor(() => count() === 3, { what: "three open connections", timeoutMs });
  const answer = await fetch(n1.url);
  assert.equal(`${answer.status} ${await answer.text()}`, "200 n2");
  assert.equal(count(), 3, "it opened none");
  assert.equal(connectionsTo("127.0.0.11", 1).length, 0, "and none to the node itself");

  await n1.traffic.setTable(tableOf(n2, {}));
  await waitFor(() => count() === 0, { what: "those of a node that left to be closed", timeoutMs });
});

test("T12: a client that gives up ends no connection of the mesh", async (t) => {
  const site = await startNodes(["n1"], { limits: { unheardMs: 60_000 } });
  t.after(() => site.stop());
  const [n1] = site.nodes as [TestNode];
  const n2 = await startRemote(t, site.cell, "n2");
  const { ip, meshPort } = n2;
  await n1.traffic.setTable(tableOf(n2, { n2: { host: ip, port: meshPort } }));
  const connections = () => connectionsTo(ip, meshPort);
  await waitFor(() => connections().length === 3, { what: "three open connections", timeoutMs });
  const impatient = new AbortController();
  const given = Array.from({ length: 8 }, () =>
    fetch(`${n1.url}/hold`, { signal: impatient.signal }).catch(() => "gave up"),
  );
  await waitFor(() => n2.held.gets === 8, { what: "the requests to be held", timeoutMs });
  const open = connections();
  impatient.abort();
  assert.deepEqual(await Promise.all(given), Array(8).fill("gave up"));
  n2.release();
  for (let i = 0; i < 8; i++) assert.equal(await (await fetch(n1.url)).text(), "n2");
  const kept = new Set(connections());
  assert.deepEqual(
    open.filter((one) => !kept.has(one)),
    [],
    "closed",
  );
});
