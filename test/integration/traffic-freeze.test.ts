import { strict as assert } from "node:assert";
import { test } from "node:test";
import { startRemote, type RemoteNode } from "../support/traffic-remote.ts";
import { startNodes, type TestNode } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 40_000;

const routeTo = (n1: TestNode, remotes: readonly RemoteNode[], pods: readonly RemoteNode[]) =>
  n1.traffic.setTable({
    node: "n1",
    hosts: [{ host: "", paths: [{ path: "/", type: "Prefix", backend: 0 }] }],
    defaultBackend: undefined,
    backends: [
      { name: "default/web:80", endpoints: pods.map(({ node, ip, port }) => ({ node, ip, port })) },
    ],
    served: [],
    meshByNode: Object.fromEntries(
      remotes.map(({ node, ip, meshPort }) => [node, { host: ip, port: meshPort }]),
    ),
  });

const ask = async (url: string, init: RequestInit = {}) => {
  const answer = await fetch(url, init);
  return `${answer.status} ${await answer.text()}`;
};

test("T12: what waits at a node that freezes is answered by another pod; a POST is left where it is, and answered when the node goes on", async (t) => {
  const site = await startNodes(["n1"], {
    // Of all that is late, only the node that is stopped shall be silent.
    limits: { silenceMs: 120_000, responseTimeoutMs: 120_000, pongMs: 30_000 },
  });
  t.after(() => site.stop());
  const [n1] = site.nodes as [TestNode];
  const remotes = [await startRemote(t, site.cell, "n2"), await startRemote(t, site.cell, "n3")];
  const [n2, n3] = remotes as [RemoteNode, RemoteNode];
  await routeTo(n1, remotes, [n2]);
  const url = `${n1.url}/hold`;
  const posted = ask(url, { method: "POST", body: "order" });
  await waitFor(() => n2.held.posts === 1, { what: "the POST to be held", timeoutMs });
  const waiting = Array.from({ length: 6 }, () => ask(url));
  const keyed = ask(url, { method: "POST", body: "x", headers: { "idempotency-key": "k1" } });
  await waitFor(() => n2.held.gets === 6 && n2.held.posts === 2, {
    what: "the GETs to be held",
    timeoutMs,
  });
  await routeTo(n1, remotes, [n2, n3]);

  n2.stop();
  await waitFor(() => n3.held.gets === 6 && n3.held.posts === 1, {
    what: "the requests to move",
    timeoutMs,
  });
  n3.release();
  assert.deepEqual([...(await Promise.all(waiting)), await keyed], Array(7).fill("200 n3"));
  for (let i = 0; i < 10; i++) assert.equal(await ask(n1.url), "200 n3");

  n2.goOn();
  n2.release();
  assert.equal(await posted, "200 n2");
  assert.deepEqual([n2.held.posts, n3.held.posts], [2, 1]);
  await waitFor(async () => (await Promise.all([ask(n1.url), ask(n1.url)])).includes("200 n2"), {
    what: "n2 to be back",
    timeoutMs,
  });
  await waitFor(async () => (await n1.count("skerry_ingress_retries_total")) >= 7, {
    what: "retries to be counted",
    timeoutMs,
  });
  assert.ok((await n1.count("skerry_ingress_node_silences_total")) >= 1);
  assert.ok((await n1.count("skerry_ingress_pings_total", "lost")) >= 1);
});

test("T12: an application that is merely slow is neither retried nor left out", async (t) => {
  // A pong may take long on a busy machine; what matters here is that there is one.
  const site = await startNodes(["n1"], { limits: { pongMs: 30_000 } });
  t.after(() => site.stop());
  const [n1] = site.nodes as [TestNode];
  const remotes = [await startRemote(t, site.cell, "n2"), await startRemote(t, site.cell, "n3")];
  const [n2, n3] = remotes as [RemoteNode, RemoteNode];
  await routeTo(n1, remotes, remotes);
  const waiting = [ask(`${n1.url}/hold`), ask(`${n1.url}/hold`)];
  await waitFor(async () => (await n1.count("skerry_ingress_pings_total", "pong")) >= 6, {
    what: "some pings while they wait",
    timeoutMs,
  });
  assert.equal(n2.held.gets + n3.held.gets, 2);
  n2.release();
  n3.release();
  for (const answer of await Promise.all(waiting)) assert.match(answer, /^200 /);
  assert.equal(await n1.count("skerry_ingress_retries_total"), 0);
  assert.equal(await n1.count("skerry_ingress_node_silences_total"), 0);
  assert.equal(await n1.count("skerry_ingress_ejections_total"), 0);
});
