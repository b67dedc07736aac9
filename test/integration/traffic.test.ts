/** Requests passed on whole, to this node and over the mesh; what is refused, and how it ends. */
import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { after, test } from "node:test";
import { Agent, request } from "undici";
import { WebSocket, WebSocketServer } from "ws";
import { clientTlsOptions } from "../../src/transport/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { get, ownNodes, startNodes, startPod, type TestNode } from "../support/traffic.ts";
import { testCell } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

/** Sends bytes as they are and gives everything that comes back. */
const raw = (node: TestNode, bytes: string | Uint8Array, { end = false } = {}) =>
  new Promise<string>((resolve) => {
    const { hostname, port } = new URL(node.url);
    const socket = connectTcp(Number(port), hostname);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("error", () => {});
    socket.on("close", () => resolve(Buffer.concat(chunks).toString()));
    socket.write(bytes);
    if (end) socket.end();
  });

/** Most tests share two nodes; those that break one start their own. */
const shared = await startNodes(["n1", "n2"]);
after(() => shared.stop());
const [n1, n2] = shared.nodes as [TestNode, TestNode];
const { cell, route } = shared;

test("T3: a request reaches a pod of this node directly and one of another node over the mesh", async (t) => {
  const seen: { url: string | undefined; headers: Record<string, unknown> }[] = [];
  const pod = await startPod(t, "n2", (incoming, response) => {
    seen.push({ url: incoming.url, headers: incoming.headers });
    response.setHeader("set-cookie", ["a=1", "b=2"]);
    response.setHeader("connection", "x-hop");
    response.setHeader("x-hop", "secret");
    response.end("here");
  });
  await route([pod]);
  for (const node of [n1, n2]) {
    const answer = await get(`${node.url}/deep/path?q=1`, {
      headers: { "x-forwarded-for": "6.6.6.6", "skerry-endpoint": "1.2.3.4:5" },
    });
    assert.equal(answer.text, "here");
    assert.deepEqual(answer.headers.getSetCookie(), ["a=1", "b=2"]);
    assert.equal(answer.headers.get("x-hop"), null);
    const last = seen.at(-1);
    assert.equal(last?.url, "/deep/path?q=1");
    assert.equal(last?.headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(last?.headers["x-forwarded-host"], new URL(node.url).host);
    assert.equal(last?.headers["skerry-endpoint"], undefined);
  }
  await waitFor(async () => (await n2.count("skerry_mesh_requests_total")) > 0, {
    what: "the mesh to be counted",
  });
});

test("bodies stream both ways, whole and in order, over the mesh", async (t) => {
  const pod = await startPod(t, "n2", (incoming, response) => void incoming.pipe(response));
  await route([pod]);
  for (const size of [0, 1, 60_000, 70_000, 3_000_000]) {
    const body = Buffer.from(seededRandom(size).bytes(size));
    for (const chunked of [false, true]) {
      const answer = await request(n1.url, {
        method: "POST",
        body: chunked
          ? Readable.from(
              (async function* () {
                yield body.subarray(0, size / 3);
                yield body.subarray(size / 3);
              })(),
            )
          : body,
      });
      const echoed = Buffer.from(await answer.body.arrayBuffer());
      assert.equal(echoed.length, size);
      assert.equal(
        createHash("sha256").update(echoed).digest("hex"),
        createHash("sha256").update(body).digest("hex"),
      );
    }
  }
});

test("a streamed answer arrives as it is written", async (t) => {
  const gate = Promise.withResolvers<void>();
  const pod = await startPod(t, "n2", (incoming, response) => {
    if (incoming.url !== "/stream") return response.end();
    response.write("first");
    void gate.promise.then(() => response.end("last"));
    return undefined;
  });
  await route([pod]);
  const answer = await request(`${n1.url}/stream`);
  const iterator = answer.body[Symbol.asyncIterator]();
  assert.equal(String((await iterator.next()).value), "first");
  gate.resolve();
  assert.equal(String((await iterator.next()).value), "last");
});

test("T6: no route is 404, no ready pod 503, no answer in time 504, each in words", async (t) => {
  const impatient = await ownNodes(t, ["n1"], { limits: { responseTimeoutMs: 300 } });
  const { nodes, route } = await ownNodes(t, ["n1"]);
  const [n1] = nodes as [TestNode];
  const hanging = await startPod(t, "n1", () => {});
  for (const each of [impatient, { route }]) await each.route([hanging], { path: "/app" });
  const late = `${impatient.nodes[0]?.url}/app/hang`;
  const cases = [
    [await get(`${n1.url}/other`), 404, "no-route"],
    [await get(late, { method: "POST", body: "x" }), 504, "backend-timeout"],
  ] as const;
  for (const [answer, status, code] of cases) {
    assert.equal(answer.status, status);
    assert.equal(JSON.parse(answer.text).error.code, code);
  }
  await route([], { path: "/app" });
  const empty = await get(`${n1.url}/app`);
  assert.equal(empty.status, 503);
  assert.equal(JSON.parse(empty.text).error.message, "no pod of default/web:80 is ready");
  assert.equal(empty.headers.get("retry-after"), "1");
  hanging.kill();
  await route([hanging], { path: "/app" });
  const dead = await get(`${n1.url}/app`);
  assert.deepEqual([dead.status, JSON.parse(dead.text).error.code], [503, "backend-unreachable"]);
});

test("T6: before its first table a node answers 503 starting, not 404", async (t) => {
  const { nodes, route } = await ownNodes(t, ["n1"]);
  const [n1] = nodes as [TestNode];
  const early = await get(`${n1.url}/app`);
  assert.equal(early.status, 503);
  assert.equal(early.headers.get("retry-after"), "1");
  assert.equal(JSON.parse(early.text).error.code, "starting");
  await route([], { path: "/other" });
  assert.equal((await get(`${n1.url}/app`)).status, 404);
});

test("T15: an ingress that starts anew follows its last table at once; a damaged one is not used", async (t) => {
  const keptAt = join(mkdtempSync(join(tmpdir(), "skerry-routes-")), "routes.json");
  t.after(() => rmSync(dirname(keptAt), { recursive: true }));
  const pod = await startPod(t, "n1");
  const before = await startNodes(["n1"], { keptAt });
  await before.route([], { path: "/app" });
  await before.route([pod], { path: "/app" });
  await before.stop();
  const answer = async (name: string) => {
    const { nodes, stop } = await startNodes([name], { keptAt });
    const { status } = await get(`${nodes[0]?.url}/app`);
    await stop();
    return status;
  };
  assert.equal(await answer("n1"), 200);
  assert.equal(await answer("n2"), 503, "the table of another node is not followed");
  writeFileSync(keptAt, readFileSync(keptAt).subarray(0, -20));
  assert.equal(await answer("n1"), 503);
});

test("T7: the mesh takes nodes of its own cell only, and only for pods it serves", async (t) => {
  const pod = await startPod(t, "n2");
  const hidden = await startPod(t, "n2");
  await route([pod]);
  const other = await testCell("cell-b");
  const ask = async (
    credentials: Awaited<ReturnType<typeof cell.credentials>> | undefined,
    endpoint: string,
  ) => {
    const agent = new Agent({
      connect: {
        ...clientTlsOptions({ credentials, trusts: [cell.trust] }),
        servername: "x.skerry",
      },
    });
    try {
      const answer = await request(`https://127.0.0.12:${n2.traffic.meshPort}/`, {
        dispatcher: agent,
        headers: { "skerry-endpoint": endpoint },
      });
      await answer.body.dump();
      return answer.statusCode;
    } catch {
      return "closed";
    } finally {
      await agent.destroy();
    }
  };
  const served = `${pod.ip}:${pod.port}`;
  assert.equal(await ask(await cell.credentials("node", "n1"), served), 200);
  assert.equal(await ask(await cell.credentials("node", "n1"), `${hidden.ip}:${hidden.port}`), 403);
  assert.equal(await ask(await cell.credentials("node", "n1"), "127.0.0.1:22"), 403);
  assert.equal(await ask(await cell.credentials("app", "thermometer"), served), "closed");
  assert.equal(await ask(await cell.credentials("user", "admin"), served), "closed");
  assert.equal(await ask(await other.credentials("node", "n1"), served), "closed");
  assert.equal(await ask(undefined, served), "closed");
  assert.equal(hidden.requests, 0);
  await waitFor(async () => (await n2.count("skerry_mesh_refused_total")) >= 4, {
    what: "refusals to be counted",
  });
});

test("T7: a node that claims another's address is not spoken to", async (t) => {
  const pod = await startPod(t, "n2");
  await route([pod]);
  await n2.traffic.setIdentity({
    ...n2.identity,
    credentials: await cell.credentials("node", "n7"),
  });
  await n1.traffic.setIdentity(n1.identity);
  assert.equal((await get(n1.url)).status, 503);
  await n2.traffic.setIdentity(n2.identity);
  assert.equal((await get(n1.url)).status, 200);
});

test("T8: what two hops could read differently is refused (request smuggling)", async (t) => {
  const pod = await startPod(t, "n1");
  await route([pod]);
  const before = pod.requests;
  const smuggled = [
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "GET /a/../admin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET /a/%2e%2E/admin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET http://user@x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "nonsense\r\n\r\n",
  ];
  for (const bytes of smuggled) {
    const answer = await raw(n1, bytes);
    assert.match(answer, /^(HTTP\/1\.1 400 |$)/, bytes);
  }
  assert.equal(pod.requests, before);
  assert.match(
    await raw(n1, "GET http://any/abs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    /^HTTP\/1\.1 200 /,
  );
});

test("T8: damaged requests close their connection and nothing else (seed 3)", async (t) => {
  const pod = await startPod(t, "n1", (incoming, response) => void incoming.pipe(response));
  await route([pod]);
  const random = seededRandom(3);
  const good = Buffer.from(
    "POST /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
  );
  for (let round = 0; round < 150; round++) {
    const bytes = Buffer.from(good);
    for (let flips = 1 + random.integer(5); flips > 0; flips--)
      bytes[random.integer(bytes.length)] = random.integer(256);
    await raw(n1, bytes.subarray(0, 1 + random.integer(bytes.length)), { end: true });
  }
  assert.equal((await get(n1.url)).status, 200);
  assert.equal(n1.traffic.restarts, 0);
});

test("an answer that breaks off in the middle never looks whole", async (t) => {
  const pod = await startPod(t, "n2", (incoming, response) => {
    if (incoming.url !== "/cut") return response.end();
    response.writeHead(200, incoming.headers["x-length"] ? { "content-length": "100" } : {});
    response.write("half");
    setImmediate(() => response.destroy());
    return undefined;
  });
  await route([pod]);
  for (const node of [n1, n2]) {
    await assert.rejects(get(`${node.url}/cut`));
    await assert.rejects(get(`${node.url}/cut`, { headers: { "x-length": "1" } }));
  }
});

test("a client that goes away ends the request at the pod", async (t) => {
  let closed = 0;
  let arrived = 0;
  const pod = await startPod(t, "n2", (incoming, response) => {
    if (incoming.url !== "/wait") return response.end();
    arrived++;
    response.on("close", () => closed++);
    return undefined;
  });
  await route([pod]);
  const client = httpRequest(`${n1.url}/wait`);
  client.on("error", () => {});
  client.end();
  await waitFor(() => arrived === 1, { what: "the request to arrive" });
  client.destroy();
  await waitFor(() => closed === 1, { what: "the pod to notice" });
});

test("WebSockets pass, to this node and over the mesh", async (t) => {
  const pod = await startPod(t, "n2");
  const sockets = new WebSocketServer({ server: pod.server });
  t.after(() => sockets.close());
  sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(`echo ${data}`)));
  await route([pod]);
  for (const node of [n1, n2]) {
    const socket = new WebSocket(`${node.url.replace("http", "ws")}/chat`);
    t.after(() => socket.terminate());
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    const echoed = new Promise((resolve) =>
      socket.once("message", (data) => resolve(String(data))),
    );
    socket.send("hello");
    assert.equal(await echoed, "echo hello");
    socket.close();
    await new Promise((resolve) => socket.once("close", resolve));
  }
});

test("T9: stop answers what is under way and takes nothing new", async (t) => {
  const { nodes, route } = await ownNodes(t, ["n1"]);
  const [n1] = nodes as [TestNode];
  const gate = Promise.withResolvers<void>();
  let arrived = 0;
  const pod = await startPod(t, "n1", (incoming, response) => {
    if (incoming.url !== "/slow") return response.end();
    arrived++;
    void gate.promise.then(() => response.end("whole"));
    return undefined;
  });
  await route([pod]);
  const underWay = get(`${n1.url}/slow`);
  await waitFor(() => arrived === 1, { what: "the request to arrive" });
  const stopping = n1.traffic.stop({ graceMs: 60_000 });
  await waitFor(
    () =>
      get(n1.url).then(
        () => false,
        () => true,
      ),
    { what: "the listener to be closed" },
  );
  gate.resolve();
  assert.equal((await underWay).text, "whole");
  await stopping;
});

test("T9: a pod that left the table still answers what comes over the mesh for a moment", async (t) => {
  const pod = await startPod(t, "n2");
  await route([pod]);
  // The table of n1 is older than that of n2.
  await n2.traffic.setTable({
    node: "n2",
    hosts: [],
    defaultBackend: undefined,
    backends: [],
    served: [],
    meshByNode: {},
  });
  assert.equal((await get(n1.url, { method: "POST", body: "order" })).status, 200);
  assert.equal(pod.requests, 1);
});

test("T9: a new table cuts no request that is under way", async (t) => {
  const gate = Promise.withResolvers<void>();
  let arrived = 0;
  const pods = [
    await startPod(t, "n2", (incoming, response) => {
      if (incoming.url !== "/slow") return response.end("old");
      arrived++;
      void gate.promise.then(() => response.end("whole"));
      return undefined;
    }),
    await startPod(t, "n1", (_incoming, response) => response.end("new")),
  ] as const;
  await route([pods[0]]);
  const underWay = get(`${n1.url}/slow`);
  await waitFor(() => arrived === 1, { what: "the request to arrive" });
  await route([pods[1]]);
  assert.equal((await get(n1.url)).text, "new");
  gate.resolve();
  assert.equal((await underWay).text, "whole");
});

test("T10: a proxy thread that ends is started again, on the same ports, with the table of now", async (t) => {
  const { nodes, route } = await ownNodes(t, ["n3"], { heapMbMax: 48 });
  const [n3] = nodes as [TestNode];
  const pod = await startPod(t, "n3");
  await route([pod]);
  assert.equal((await get(n3.url)).status, 200);
  const { ingressPort } = n3.traffic;
  // More than the thread's heap holds: it ends as it would by a leak.
  const served = Array.from({ length: 1_500_000 }, (_, i) => `10.0.0.1:${i}`);
  const base = { node: "n3", hosts: [], defaultBackend: undefined, backends: [], meshByNode: {} };
  const overfull = n3.traffic.setTable({ ...base, served });
  await waitFor(
    () =>
      get(n3.url).then(
        () => false,
        () => true,
      ),
    { what: "the thread to end" },
  );
  await overfull;
  await route([pod]);
  await waitFor(async () => (await get(n3.url)).status === 200, { what: "the ingress to be back" });
  assert.equal(n3.traffic.ingressPort, ingressPort);
  assert.ok(n3.traffic.restarts >= 1);
});

test("a port in use is named", async () => {
  const port = n1.traffic.ingressPort ?? 0;
  await assert.rejects(startNodes(["n1"], { ingress: { host: "127.0.0.11", port } }), {
    code: "port-in-use",
  });
});
