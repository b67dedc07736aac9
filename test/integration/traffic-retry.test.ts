/** What becomes of a request whose attempt failed: another pod, another node, or a plain answer. */
import { strict as assert } from "node:assert";
import { createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { after, test } from "node:test";
import { Agent, request } from "undici";
import { get, ownNodes, startNodes, startPod, type TestNode } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

const shared = await startNodes(["n1", "n2"]);
after(() => shared.stop());
const [n1, n2] = shared.nodes as [TestNode, TestNode];
const { route } = shared;

test("T5: a pod killed under load fails no GET, and its neighbour takes over", async (t) => {
  const pods = [await startPod(t, "n1"), await startPod(t, "n2")];
  await route(pods);
  const agent = new Agent({ connections: 16 });
  t.after(() => agent.close());
  let sent = 0;
  let failed = 0;
  const load = { stop: false };
  const client = async (node: TestNode) => {
    while (!load.stop) {
      const answer = await request(node.url, { dispatcher: agent });
      await answer.body.dump();
      sent++;
      if (answer.statusCode !== 200) failed++;
    }
  };
  const clients = Array.from({ length: 16 }, (_, i) => client(i % 2 ? n1 : n2));
  await waitFor(() => sent > 200, { what: "load", timeoutMs: 30_000 });
  pods[0]?.kill();
  const atKill = sent;
  await waitFor(() => sent > atKill + 400, {
    what: "load after the kill",
    timeoutMs: 30_000,
  });
  load.stop = true;
  await Promise.all(clients);
  assert.equal(failed, 0, `${failed} of ${sent} failed`);
  await waitFor(async () => (await n1.count("skerry_ingress_retries_total")) > 0, {
    what: "retries to be counted",
  });
});

test("T5: when a whole agent is gone, mesh included, requests go to other nodes", async (t) => {
  const { nodes, route } = await ownNodes(t, ["n1", "n2", "n3"]);
  const [n1, n2] = nodes as [TestNode, TestNode];
  const pods = [await startPod(t, "n2"), await startPod(t, "n3")];
  await route(pods);
  let sent = 0;
  const load = { stop: false };
  const statuses = new Set<number>();
  const client = async () => {
    while (!load.stop) {
      statuses.add((await get(n1.url)).status);
      sent++;
    }
  };
  const clients = Array.from({ length: 8 }, client);
  await waitFor(() => sent > 100, { what: "load", timeoutMs: 30_000 });
  // No grace: connections are cut in the middle of requests, as by a kill.
  await n2.traffic.stop({ graceMs: 0 });
  const atKill = sent;
  await waitFor(() => sent > atKill + 300, {
    what: "load after the kill",
    timeoutMs: 30_000,
  });
  load.stop = true;
  await Promise.all(clients);
  assert.deepEqual([...statuses], [200]);
});

test("T5: a machine that went silent is noticed while a request waits on it", async (t) => {
  const near = await startPod(t, "n1");
  // A mesh port that takes the connection and says nothing, then takes none any more.
  const sockets: Socket[] = [];
  const silent = createTcpServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    silent.close();
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.19", resolve));
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  await route([near]);
  await n1.traffic.setTable({
    node: "n1",
    hosts: [{ host: "", paths: [{ path: "/", type: "Prefix", backend: 0 }] }],
    defaultBackend: undefined,
    backends: [{ name: "default/web:80", endpoints: [{ node: "n9", ip: "127.0.0.19", port: 80 }] }],
    served: [],
    meshByNode: { n9: { host: "127.0.0.19", port: (silent.address() as AddressInfo).port } },
  });
  const first = get(n1.url);
  await waitFor(() => sockets.length > 0, { what: "the first attempt" });
  await route([near]);
  const answer = await first;
  assert.equal(answer.status, 200);
});

test("T5: a POST is not sent twice when it may have been carried out; when nothing was sent it is", async (t) => {
  const breaking = await startPod(t, "n1", (incoming, response) => {
    if (incoming.method === "GET") return response.end();
    incoming.socket.destroy();
    return undefined;
  });
  const good = await startPod(t, "n2");
  const gone = await startPod(t, "n1");
  gone.kill();
  await route([breaking]);
  const requestsBefore = breaking.requests;
  const broken = await get(n1.url, { method: "POST", body: "order" });
  assert.equal(broken.status, 502);
  assert.match(broken.text, /may have been carried out/);
  assert.equal(breaking.requests, requestsBefore + 1);
  await route([gone, good]);
  assert.equal((await get(n1.url, { method: "POST", body: "order" })).status, 200);
});

test("T5: a POST goes out on a connection used a moment ago or a new one; a hint of the pod is kept to", async (t) => {
  const opened = { post: 0, get: 0 };
  const closed = { post: 0, get: 0 };
  const pod = await startPod(t, "n1", (incoming, response) => {
    if (incoming.headers["x-hint"]) response.setHeader("keep-alive", "timeout=1");
    response.end();
  });
  // The pod itself would keep every connection for ever.
  pod.server.keepAliveTimeout = 0;
  const known = new Set<Socket>();
  pod.server.on("request", ({ socket, method, headers }) => {
    if (known.has(socket)) return;
    known.add(socket);
    const kind = method === "POST" && !headers["idempotency-key"] ? "post" : "get";
    opened[kind]++;
    socket.once("close", () => closed[kind]++);
  });
  await route([pod]);
  const post = (headers: Record<string, string> = {}) =>
    get(n1.url, { method: "POST", body: "order", headers });
  await get(n1.url);
  await post();
  await waitFor(() => closed.post === 1, {
    what: "the POST's connection to be closed",
    timeoutMs: 30_000,
  });
  await post({ "x-hint": "1" });
  await waitFor(() => closed.post === 2, { what: "the hint to be kept to", timeoutMs: 30_000 });
  assert.equal((await post({ "idempotency-key": "k" })).status, 200);
  assert.equal(opened.post, 2);
});
