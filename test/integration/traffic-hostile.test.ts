import { strict as assert } from "node:assert";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { after, test, type TestContext } from "node:test";
import { ownNodes, startNodes, startPod, type TestNode } from "../support/traffic.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 30_000;
/** Slow clients are no part of what most tests say, and a slow machine makes of every client one. */
const shared = await startNodes(["n1"], {
  limits: { headersTimeoutMs: 60_000, clientStallMs: 1_000, bodyBytesMax: 200_000 },
});
after(() => shared.stop());
const [node] = shared.nodes as [TestNode];

function dial(t: TestContext, { url }: TestNode): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  t.after(() => socket.destroy());
  return socket;
}

/** Sends bytes and gives what comes back until the ingress closes. */
function say(t: TestContext, bytes: string, to = node): Promise<string> {
  const socket = dial(t, to);
  let answer = "";
  socket.on("data", (chunk) => (answer += String(chunk)));
  socket.write(bytes, "latin1");
  return new Promise((resolve) => socket.once("close", () => resolve(answer)));
}

const isRefused = (reason: string, atLeast: number, by = node) =>
  waitFor(
    async () => (await by.count("skerry_ingress_refused_total", `reason="${reason}"`)) >= atLeast,
    { what: `${atLeast} refusals for ${reason}`, timeoutMs },
  );

test("T8, T13: every shape that two parsers could read differently is 400, and counted", async (t) => {
  const pod = await startPod(t, "n1");
  await shared.route([pod]);
  const malformed = [
    "GET / HTTP/1.1\nHost: x\n\n",
    "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "GET / HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  ];
  const close = "Connection: close\r\n";
  const ambiguous = [
    `GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n${close}\r\n`,
    `GET / HTTP/1.1\r\nHost: x y\r\n${close}\r\n`,
    `GET / HTTP/1.1\r\nHost: x/y\r\n${close}\r\n`,
    `GET http://u@x/ HTTP/1.1\r\nHost: x\r\n${close}\r\n`,
    `GET /a/%2e./b HTTP/1.1\r\nHost: x\r\n${close}\r\n`,
    `POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `POST / HTTP/1.1\r\nHost: x\r\n${close}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  ];
  for (const bytes of [...malformed, ...ambiguous]) {
    const answer = await say(t, bytes);
    assert.match(answer, /^HTTP\/1\.1 400 /, bytes);
    assert.match(answer, /"code":"invalid-request"/, bytes);
  }
  assert.equal(pod.requests, 0);
  await isRefused("malformed", malformed.length);
  await isRefused("ambiguous", ambiguous.length);
});

test("T13: headers or a body that do not come are 408; the pod hears nothing of a kept one", async (t) => {
  const pod = await startPod(t, "n1", (request) => void request.resume());
  // Each is impatient for one of them: whatever is late otherwise is not told as the other.
  const forHeaders = await ownNodes(t, ["n1"], { limits: { headersTimeoutMs: 1_000 } });
  const forBodies = await ownNodes(t, ["n1"], {
    limits: { headersTimeoutMs: 60_000, bodyIdleTimeoutMs: 1_000, bodyBytesMax: 200_000 },
  });
  for (const each of [forHeaders, forBodies]) await each.route([pod]);
  const [first] = forHeaders.nodes as [TestNode];
  const [second] = forBodies.nodes as [TestNode];
  const [silent, headers, kept, streamed] = await Promise.all([
    say(t, "", first),
    say(t, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", first),
    say(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", second),
    say(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc", second),
  ]);
  for (const answer of [silent, headers, kept, streamed]) {
    assert.match(answer, /^HTTP\/1\.1 408 /);
    assert.match(answer, /"code":"request-timeout"/);
  }
  assert.ok(pod.requests <= 1);
  await isRefused("headers-timeout", 2, first);
  await isRefused("body-timeout", 2, second);
});

test("T13: what is too large is 431 and 413, with a length or in chunks", async (t) => {
  const pod = await startPod(t, "n1", (request) => void request.resume());
  await shared.route([pod]);
  const header = `X-Long: ${"x".repeat(20_000)}\r\n`;
  assert.match(
    await say(t, `GET / HTTP/1.1\r\nHost: x\r\n${header}\r\n`),
    /^HTTP\/1\.1 431 [^]*"code":"headers-too-large"/,
  );
  const tooLarge = /^HTTP\/1\.1 413 [^]*"code":"body-too-large"/;
  assert.match(
    await say(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200001\r\n\r\nabc"),
    tooLarge,
  );
  const chunk = `${(40_000).toString(16)}\r\n${"x".repeat(40_000)}\r\n`;
  assert.match(
    await say(
      t,
      `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(6)}`,
    ),
    tooLarge,
  );
  await isRefused("headers-too-large", 1);
  await isRefused("body-too-large", 2);
});

test("T13: a client that does not read its answer loses it, and the pod is freed", async (t) => {
  const state = { written: 0, closed: false };
  const pod = await startPod(t, "n1", (_request, response) => {
    const piece = Buffer.alloc(1024 * 1024);
    const write = () => {
      while (!response.destroyed && response.write(piece)) state.written++;
    };
    response.on("drain", write);
    response.on("close", () => (state.closed = true));
    write();
  });
  await shared.route([pod]);
  const socket = dial(t, node);
  socket.pause();
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await waitFor(() => state.closed, { what: "the pod's request to be ended", timeoutMs });
  await isRefused("slow-reader", 1);
  assert.ok(state.written < 200, `${state.written} MiB were taken for a client that reads nothing`);
});

test("T13: connections that say nothing make room for those that do", async (t) => {
  const own = await startNodes(["n2"], { limits: { connectionsMax: 20 } });
  t.after(() => own.stop());
  const [small] = own.nodes as [TestNode];
  const pod = await startPod(t, "n2");
  pod.server.on("upgrade", (_request, socket) => {
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
    );
    socket.on("data", (chunk) => socket.write(chunk));
    socket.on("error", () => {});
  });
  await own.route([pod]);
  // It was there first and says nothing for now, but it carries something.
  const upgraded = dial(t, small);
  let said = "";
  upgraded.on("data", (chunk) => (said += String(chunk)));
  upgraded.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
  await waitFor(() => said.includes("101"), { what: "the upgrade", timeoutMs });
  const idle = Array.from({ length: 60 }, () => dial(t, small));
  await waitFor(() => idle.filter((socket) => socket.closed).length >= 40, {
    what: "idle connections to be closed",
    timeoutMs,
  });
  for (let i = 0; i < 5; i++) assert.equal((await fetch(small.url)).status, 200);
  upgraded.write("still here");
  await waitFor(() => said.endsWith("still here"), { what: "the echo", timeoutMs });
  await waitFor(
    async () =>
      (await small.count("skerry_ingress_refused_total", "idle-connection")) >= 40 &&
      (await small.count("skerry_ingress_connections")) <= 20,
    { what: "the counts", timeoutMs },
  );
});

test("T13: an upgrade takes its turn as a request does: beyond what may be under way it is told to come again", async (t) => {
  const own = await startNodes(["n3"], { limits: { underWayMax: 1 } });
  t.after(() => own.stop());
  const [small] = own.nodes as [TestNode];
  const pod = await startPod(t, "n3");
  const asked: Duplex[] = [];
  pod.server.on("upgrade", (_request, socket) => {
    socket.on("error", () => {});
    asked.push(socket);
  });
  await own.route([pod]);
  const upgrade = () => {
    const socket = dial(t, small);
    const state = { said: "" };
    socket.on("data", (chunk) => (state.said += String(chunk)));
    socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    return state;
  };
  const first = upgrade();
  await waitFor(() => asked.length === 1, { what: "the pod to be asked", timeoutMs });
  const second = upgrade();
  await waitFor(() => second.said.includes(" 503 "), {
    what: "the second one's refusal",
    timeoutMs,
  });
  assert.equal((await fetch(small.url)).status, 503);
  assert.equal(asked.length, 1, "the pod was asked once");
  asked[0]?.write("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
  await waitFor(() => first.said.includes(" 101 "), { what: "the upgrade", timeoutMs });
  // What is open now is a connection, and no request any more.
  assert.equal((await fetch(small.url)).status, 200);
});
