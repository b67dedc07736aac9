/** Connections to other nodes are there before anything is asked of them. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { startRemote } from "../support/traffic-remote.ts";
import { startNodes, type TestNode } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 40_000;

/** Open ones to that address, by their remote end (proc(5), net/tcp). */
function connectionsTo(ip: string, port: number): number {
  const bytes = ip.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  const address = `${bytes.toReversed().join("")}:${port.toString(16).padStart(4, "0")}`;
  return readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote, state]) => remote === address.toUpperCase() && state === "01").length;
}

test("T12: connections for pings and requests are open before the first request, and carry it", async (t) => {
  const site = await startNodes(["n1"]);
  t.after(() => site.stop());
  const [n1] = site.nodes as [TestNode];
  const n2 = await startRemote(t, site.cell, "n2");
  const { node, ip, port, meshPort } = n2;
  const setTable = (meshByNode: Record<string, { host: string; port: number }>) =>
    n1.traffic.setTable({
      node: "n1",
      hosts: [{ host: "", paths: [{ path: "/", type: "Prefix", backend: 0 }] }],
      defaultBackend: undefined,
      backends: [{ name: "default/web:80", endpoints: [{ node, ip, port }] }],
      served: [],
      meshByNode,
    });
  const count = () => connectionsTo(ip, meshPort);
  await setTable({ n1: { host: "127.0.0.11", port: 1 }, n2: { host: ip, port: meshPort } });
  await waitFor(() => count() === 3, { what: "three open connections", timeoutMs });
  const answer = await fetch(n1.url);
  assert.equal(`${answer.status} ${await answer.text()}`, "200 n2");
  assert.equal(count(), 3, "it opened none");
  assert.equal(connectionsTo("127.0.0.11", 1), 0, "and none to the node itself");

  await setTable({});
  await waitFor(() => count() === 0, { what: "those of a node that left to be closed", timeoutMs });
});
