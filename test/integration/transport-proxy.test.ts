/** The way to the hub through an HTTP proxy. */
import { strict as assert } from "node:assert";
import { createServer, type IncomingMessage } from "node:http";
import { connect, createServer as createTcpServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { test, type TestContext } from "node:test";
import { parseProxy, type Proxy } from "../../src/transport/index.ts";
import { connectThrough } from "../../src/transport/through-proxy.ts";
import { testCell, testPair, text, utf8 } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const cell = await testCell();
const patient = { timeoutMs: 30_000 };

/** A proxy that asks for a name and password, and may be told to refuse. */
async function startProxy(t: TestContext) {
  const state = { refuse: undefined as string | undefined, asked: [] as (string | undefined)[] };
  const tunnels = new Set<Duplex>();
  const server = createServer();
  server.on("connect", (request: IncomingMessage, client: Duplex, head: Buffer) => {
    client.on("error", () => {});
    state.asked.push(request.url);
    const login = Buffer.from("site:p@ss").toString("base64");
    const isKnown = request.headers["proxy-authorization"] === `Basic ${login}`;
    const refusal = state.refuse ?? (isKnown ? undefined : "407 Proxy Authentication Required");
    if (refusal !== undefined) return void client.end(`HTTP/1.1 ${refusal}\r\n\r\n`);
    const { hostname, port } = new URL(`http://${request.url}`);
    const upstream = connect(Number(port), hostname, () => {
      client.write("HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n");
      upstream.write(head);
      client.pipe(upstream).pipe(client);
    });
    for (const each of [client, upstream]) {
      tunnels.add(each);
      each.on("error", () => {});
      each.on("close", () => {
        client.destroy();
        upstream.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const each of tunnels) each.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  const cut = () => {
    for (const each of tunnels) each.destroy();
  };
  return { state, cut, proxy: proxyOf(`http://site:p%40ss@127.0.0.1:${port}`), port };
}

function proxyOf(url: string): Proxy {
  const proxy = parseProxy(url);
  assert.ok(proxy, url);
  return proxy;
}

test("T24: a link leads through the proxy, and is dialled again through it when it breaks", async (t) => {
  const { state, cut, proxy } = await startProxy(t);
  await using pair = await testPair(cell, { dial: { proxy } });
  pair.acceptor.handle("who", async ({ peer }) => utf8(peer.id));
  const ask = async () => text((await pair.dialled.link?.request("who", utf8(""))) ?? utf8(""));
  assert.equal(await ask(), "spiffe://cell-a.skerry/node/n2");
  assert.deepEqual(state.asked, [`127.0.0.1:${pair.listener.port}`]);
  const before = pair.dialled.link;
  cut();
  await waitFor(() => pair.dialled.link && pair.dialled.link !== before, {
    what: "another link",
    ...patient,
  });
  assert.equal(await ask(), "spiffe://cell-a.skerry/node/n2");
  assert.equal(state.asked.length >= 2, true);
});

test("T24: what the proxy refuses is said with its status, and tried again", async (t) => {
  const { state, proxy, port } = await startProxy(t);
  const dial = (through: Proxy) =>
    connectThrough(through, { host: "hub.example", port: 7443 }, AbortSignal.timeout(30_000));
  await assert.rejects(dial(proxyOf(`http://127.0.0.1:${port}`)), {
    code: "proxy-refused",
    message: `the proxy 127.0.0.1:${port} does not connect to hub.example:7443: 407 Proxy Authentication Required`,
    hint: /USER:PASSWORD/,
    retryable: true,
  });
  state.refuse = "403 Forbidden";
  await assert.rejects(dial(proxy), { code: "proxy-refused", message: /403 Forbidden$/ });
  const pairing = testPair(cell, { dial: { proxy } });
  await waitFor(() => state.asked.length >= 5, { what: "further attempts", ...patient });
  state.refuse = undefined;
  const pair = await pairing;
  assert.ok(pair.dialled.link);
  await pair[Symbol.asyncDispose]();
});

test("T24: a proxy that is none, is not there, or is silent, costs no more than the attempt", async () => {
  const sockets: Socket[] = [];
  let greeting = "SSH-2.0-OpenSSH_9.2\r\n\r\n";
  const server = createTcpServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    if (greeting !== "") socket.write(greeting);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const proxy = proxyOf(`http://127.0.0.1:${port}`);
  const dial = (signal: AbortSignal) => connectThrough(proxy, { host: "::1", port: 1 }, signal);
  await assert.rejects(dial(AbortSignal.timeout(30_000)), {
    code: "proxy-refused",
    message: /does not connect to \[::1\]:1: it does not speak HTTP$/,
  });
  greeting = "x".repeat(100_000);
  await assert.rejects(dial(AbortSignal.timeout(30_000)), { code: "proxy-refused" });
  greeting = "";
  const given = new AbortController();
  const waiting = dial(given.signal);
  await waitFor(() => sockets.length === 3, { what: "the connection", ...patient });
  given.abort(new Error("given up"));
  await assert.rejects(waiting, /given up/);
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  await assert.rejects(dial(AbortSignal.timeout(30_000)), {
    code: "peer-unreachable",
    message: `cannot reach the proxy 127.0.0.1:${port}`,
  });
});

test("a proxy's URL is of HTTP, with a port or 3128", () => {
  assert.deepEqual(parseProxy("http://proxy"), { host: "proxy", port: 3128 });
  assert.deepEqual(parseProxy("http://proxy:80/"), { host: "proxy", port: 80 });
  assert.deepEqual(parseProxy("http://a:b%3Ac@[fd00::1]:8080"), {
    ...{ host: "fd00::1", port: 8080, credentials: "a:b:c" },
  });
  for (const text of ["proxy:3128", "https://proxy", "socks5://proxy", "http://proxy/path", ""])
    assert.equal(parseProxy(text), undefined, text);
});
