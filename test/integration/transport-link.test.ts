import { strict as assert } from "node:assert";
import { connect } from "node:net";
import { test } from "node:test";
import { SkerryError } from "../../src/lib/errors.ts";
import type { Link } from "../../src/transport/index.ts";
import { testCell, testPair, text, utf8 } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const cell = await testCell();
const linkOf = (pair: { dialled: { link: Link | undefined } }): Link => {
  assert.ok(pair.dialled.link);
  return pair.dialled.link;
};
const backLink = (pair: Awaited<ReturnType<typeof testPair>>): Link => {
  const [link] = pair.listener.links();
  assert.ok(link);
  return link;
};

test("T1: requests go both ways, whoever dialled, and each side knows who asks", async () => {
  await using pair = await testPair(cell);
  pair.acceptor.handle("who", async ({ peer, body }) => utf8(`${peer.id} ${text(body)}`));
  pair.dialler.handle("who", async ({ peer, body }) => utf8(`${peer.id} ${text(body)}`));
  assert.equal(
    text(await linkOf(pair).request("who", utf8("a"))),
    "spiffe://cell-a.skerry/node/n2 a",
  );
  assert.equal(
    text(await backLink(pair).request("who", utf8("b"))),
    "spiffe://cell-a.skerry/node/n1 b",
  );
  assert.equal(pair.listener.link("spiffe://cell-a.skerry/node/n2"), backLink(pair));
  const { heardMs } = linkOf(pair);
  await waitFor(() => linkOf(pair).roundTripMs !== undefined, { what: "a ping" });
  // Nothing but pings and their answers is on its way now; the first may have been answered before.
  await waitFor(() => linkOf(pair).heardMs > heardMs, { what: "a ping to be heard" });
});

test("T2: errors cross with code, hint and cause", async () => {
  await using pair = await testPair(cell);
  pair.acceptor.handle("fail", async () => {
    throw new SkerryError({
      code: "body-too-large",
      message: "too much",
      hint: "less",
      cause: new Error("inner"),
      details: { big: "x".repeat(9000) },
    });
  });
  await assert.rejects(linkOf(pair).request("fail", utf8("")), {
    code: "body-too-large",
    message: "too much",
  });
  await assert.rejects(linkOf(pair).request("nothing", utf8("")), { code: "unknown-method" });
  pair.acceptor.handle("many", async function* () {
    yield utf8("1");
    throw new SkerryError({ code: "file-torn", message: "half" });
  });
  await assert.rejects(linkOf(pair).request("many", utf8("")), { code: "stream-only" });
  const seen: string[] = [];
  await assert.rejects(
    async () => {
      for await (const item of linkOf(pair).open("many", utf8(""))) seen.push(text(item));
    },
    { code: "file-torn" },
  );
  assert.deepEqual(seen, ["1"]);
});

test("T3: bodies up to the limit pass whole, larger ones are refused by name", async () => {
  await using pair = await testPair(cell);
  pair.acceptor.handle("echo", async ({ body }) => body);
  pair.acceptor.handle("huge", async () => new Uint8Array(16 * 1024 * 1024 + 1));
  for (const size of [0, 1, 32 * 1024, 32 * 1024 + 1, 16 * 1024 * 1024]) {
    const body = new Uint8Array(size).map((_, index) => index % 251);
    const answer = await linkOf(pair).request("echo", body);
    assert.equal(Buffer.compare(answer, body), 0, `${size} bytes`);
    assert.equal(answer.byteLength, answer.buffer.byteLength, "memory of its own");
  }
  const tooLarge = new Uint8Array(16 * 1024 * 1024 + 1);
  await assert.rejects(linkOf(pair).request("echo", tooLarge), { code: "body-too-large" });
  await assert.rejects(linkOf(pair).request("huge", utf8("")), { code: "body-too-large" });
  assert.equal(text(await linkOf(pair).request("echo", utf8("still"))), "still");
});

test("T3: the accepting side holds to its own limit whatever the caller allows itself", async () => {
  await using pair = await testPair(cell, { listen: { limits: { bodyBytesMax: 1000 } } });
  pair.acceptor.handle("echo", async ({ body }) => body);
  const request = linkOf(pair).request("echo", new Uint8Array(100_000));
  await assert.rejects(request, { code: "body-too-large" });
  assert.equal(text(await linkOf(pair).request("echo", utf8("still"))), "still");
});

test("T4: a stream waits for its reader and holds bounded memory", async () => {
  await using pair = await testPair(cell);
  let produced = 0;
  let ended = false;
  pair.acceptor.handle("numbers", async function* () {
    try {
      for (;;) yield new Uint8Array(10_000).fill(produced++);
    } finally {
      ended = true;
    }
  });
  pair.acceptor.handle("echo", async ({ body }) => body);
  let read = 0;
  for await (const item of linkOf(pair).open("numbers", utf8(""))) {
    assert.equal(item[0], read % 256);
    read++;
    if (read === 1) {
      // The producer stops at the credit while other calls go on.
      await waitFor(() => produced >= 20, { what: "the window to fill" });
      for (let i = 0; i < 50; i++) await linkOf(pair).request("echo", utf8("x"));
      assert.ok(produced <= 30, `${produced} items for one reader that does not read`);
    }
    if (read === 200) break;
  }
  await waitFor(() => ended, { what: "the producer to be told that its reader left" });
});

test("T4: a stream ends, empty items included, and the reader sees all of it in order", async () => {
  await using pair = await testPair(cell);
  pair.acceptor.handle("count", async function* ({ body }) {
    for (let i = 0; i < Number(text(body)); i++) yield i % 3 === 0 ? utf8("") : utf8(String(i));
  });
  const seen: string[] = [];
  for await (const item of linkOf(pair).open("count", utf8("20000"))) seen.push(text(item));
  assert.deepEqual(
    seen,
    Array.from({ length: 20_000 }, (_, i) => (i % 3 === 0 ? "" : String(i))),
  );
});

test("T5: a call ends by its timeout or signal at both sides, the link goes on", async () => {
  await using pair = await testPair(cell);
  const reasons: string[] = [];
  let started = 0;
  pair.acceptor.handle("hang", ({ signal }) => {
    started++;
    return new Promise((_, reject) => {
      signal.addEventListener("abort", () => {
        reasons.push((signal.reason as SkerryError).code);
        reject(signal.reason as Error);
      });
    });
  });
  const link = linkOf(pair);
  await assert.rejects(link.request("hang", utf8(""), { timeoutMs: 50 }), { code: "link-timeout" });
  const controller = new AbortController();
  const call = link.request("hang", utf8(""), { signal: controller.signal });
  await waitFor(() => started === 2, { what: "the second call" });
  controller.abort(new Error("enough"));
  await assert.rejects(call, { message: "enough" });
  await waitFor(() => reasons.length === 2, { what: "both handlers to be told" });
  assert.ok(reasons.every((code) => code === "cancelled" || code === "link-timeout"));
  assert.ok(!link.closed.aborted);
});

test("T6: calls in flight on a lost link fail with link-lost, later ones were not sent", async () => {
  await using pair = await testPair(cell);
  let aborted = false;
  let started = false;
  pair.acceptor.handle("hang", ({ signal }) => {
    started = true;
    signal.addEventListener("abort", () => (aborted = true));
    return new Promise(() => {});
  });
  const link = linkOf(pair);
  const call = link.request("hang", utf8(""));
  const stream = link.open("hang", utf8(""))[Symbol.asyncIterator]().next();
  await waitFor(() => started, { what: "the call to arrive" });
  link.close("a test");
  await assert.rejects(call, { code: "link-lost" });
  await assert.rejects(stream, { code: "link-lost" });
  await assert.rejects(link.request("hang", utf8("")), { code: "link-closed" });
  await waitFor(() => aborted, { what: "the handler's signal" });
  await pair.dialled.wait({ signal: AbortSignal.timeout(30_000) });
  assert.notEqual(linkOf(pair), link, "dialled again");
});

test("T7: more calls than allowed are refused at once, not queued without bound", async () => {
  await using pair = await testPair(cell, { listen: { limits: { callsMax: 4 } } });
  const open: (() => void)[] = [];
  pair.acceptor.handle(
    "hang",
    () => new Promise((resolve) => open.push(() => resolve(new Uint8Array()))),
  );
  const link = linkOf(pair);
  const calls = Array.from({ length: 4 }, () => link.request("hang", utf8("")));
  await waitFor(() => open.length === 4, { what: "four calls" });
  await assert.rejects(link.request("hang", utf8("")), { code: "link-busy", retryable: true });
  for (const resolve of open) resolve();
  await Promise.all(calls);
});

test("T7: bodies beyond the buffer are refused, and its room comes back", async () => {
  const limits = { bufferBytesMax: 1_000_000, bodyBytesMax: 900_000 };
  await using pair = await testPair(cell, { listen: { limits } });
  const open: (() => void)[] = [];
  pair.acceptor.handle(
    "hold",
    () => new Promise((resolve) => open.push(() => resolve(new Uint8Array()))),
  );
  const link = linkOf(pair);
  for (let round = 0; round < 5; round++) {
    const first = link.request("hold", new Uint8Array(900_000));
    await waitFor(() => open.length === 1, { what: "the first body" });
    await assert.rejects(link.request("hold", new Uint8Array(200_000)), { code: "link-busy" });
    open.pop()?.();
    await first;
  }
});

test("T8: a request of a higher class overtakes a large body of a lower one", async () => {
  await using pair = await testPair(cell);
  const order: string[] = [];
  pair.acceptor.handle("note", async ({ body }) => {
    order.push(body.length > 100 ? "large" : text(body));
    return new Uint8Array();
  });
  const link = linkOf(pair);
  const large = Array.from({ length: 3 }, () =>
    link.request("note", new Uint8Array(8_000_000), { priority: 2 }),
  );
  await link.request("note", utf8("small"), { priority: 0 });
  await Promise.all(large);
  assert.deepEqual(order, ["small", "large", "large", "large"]);
});

test("T9: at its age a link is replaced while requests in flight finish on the old one", async () => {
  await using pair = await testPair(cell, { dial: { maxAgeMs: 300 } });
  let arrived = false;
  const release = Promise.withResolvers<Uint8Array>();
  pair.acceptor.handle("slow", () => {
    arrived = true;
    return release.promise;
  });
  pair.acceptor.handle("echo", async ({ body }) => body);
  const downs: Error[] = [];
  pair.dialled.on("down", (reason) => downs.push(reason));
  const old = linkOf(pair);
  const call = old.request("slow", utf8(""));
  await waitFor(() => arrived, { what: "the slow call" });
  await waitFor(() => linkOf(pair) !== old, { what: "the replacement" });
  await assert.rejects(old.request("echo", utf8("")), { code: "link-closed" });
  assert.equal(text(await linkOf(pair).request("echo", utf8("new"))), "new");
  assert.ok(!old.closed.aborted);
  release.resolve(utf8("done"));
  assert.equal(text(await call), "done");
  await waitFor(() => old.closed.aborted, { what: "the old link to close" });
  assert.deepEqual(downs, []);
});

test("T9: under constant load no request is lost to a replacement", async () => {
  await using pair = await testPair(cell, { dial: { maxAgeMs: 100 } });
  pair.acceptor.handle("echo", async ({ body }) => body);
  const ups: Link[] = [];
  pair.dialled.on("up", (link) => ups.push(link));
  let answered = 0;
  const worker = async () => {
    while (ups.length < 5) {
      const link = await pair.dialled.wait();
      // Between asking for the link and using it nothing else runs.
      assert.equal(text(await link.request("echo", utf8("x"))), "x");
      answered++;
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  assert.ok(answered > 0);
});

test("T10: a listener that stops and comes back gets its links back", async () => {
  const pair = await testPair(cell);
  const { port } = pair.listener;
  let downs = 0;
  pair.dialled.on("down", () => downs++);
  await pair.listener.close();
  await waitFor(() => downs === 1 && pair.dialled.link === undefined, { what: "down" });
  await waitFor(() => pair.dialled.lastFailure !== undefined, { what: "a failure to show" });
  const other = await testPair(cell, { listen: { port } });
  await pair.dialled.wait({ signal: AbortSignal.timeout(30_000) });
  await waitFor(() => other.listener.links().length === 1, { what: "one peer" });
  await pair.dialled.close();
  await other[Symbol.asyncDispose]();
  await assert.rejects(pair.dialled.wait(), { code: "closed" });
});

test("a port in use and an address that is none are named", async () => {
  await using pair = await testPair(cell);
  await assert.rejects(testPair(cell, { listen: { port: pair.listener.port } }), {
    code: "port-in-use",
  });
  await assert.rejects(testPair(cell, { listen: { host: "nowhere" } }), { code: "cannot-listen" });
  await assert.rejects(testPair(cell, { listen: { host: "192.0.2.1" } }), {
    code: "cannot-listen",
  });
});

test("plain TCP and garbage on the port harm nobody", async () => {
  await using pair = await testPair(cell);
  pair.acceptor.handle("echo", async ({ body }) => body);
  const { port } = pair.listener;
  const ended = Promise.withResolvers<void>();
  const socket = connect({ host: "127.0.0.1", port }, () => socket.write("GET / HTTP/1.1\r\n\r\n"));
  socket.on("error", () => {});
  socket.on("close", () => ended.resolve());
  socket.resume();
  await ended.promise;
  await waitFor(() => pair.listener.refusedByReason.get("tls") === 1, { what: "the audit" });
  assert.equal(text(await linkOf(pair).request("echo", utf8("x"))), "x");
});
