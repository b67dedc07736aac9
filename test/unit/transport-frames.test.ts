import { strict as assert } from "node:assert";
import { duplexPair, type Duplex } from "node:stream";
import { test } from "node:test";
import * as fc from "fast-check";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { parseSpiffeId } from "../../src/identity/index.ts";
import {
  chunkBytesMax,
  createFrameReader,
  encodeFrame,
  type Frame,
} from "../../src/transport/link/frames.ts";
import { defaultLimits, type LinkLimits } from "../../src/transport/link/limits.ts";
import { createLink } from "../../src/transport/link/link.ts";
import { createOutbox } from "../../src/transport/link/outbox.ts";
import { createRouter, type HandlerRouter } from "../../src/transport/index.ts";
import { collectingLog, text, utf8 } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const u32 = fc.nat(0xffff_ffff);
const chunk = fc.uint8Array({ maxLength: 200 });
const encodedError = fc.record({
  code: fc.string({ maxLength: 20 }),
  message: fc.string({ maxLength: 50 }),
  retryable: fc.boolean(),
});
const frames: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({
    type: fc.constant("open" as const),
    call: u32,
    priority: fc.constantFrom(0 as const, 1 as const, 2 as const),
    isStream: fc.boolean(),
    timeoutMs: u32,
    bodyBytes: u32,
    method: fc.stringMatching(/^[a-z.]{1,30}$/),
    chunk,
  }),
  fc.record({ type: fc.constantFrom("body" as const, "more" as const), call: u32, chunk }),
  fc.record({ type: fc.constant("item" as const), call: u32, itemBytes: u32, chunk }),
  fc.record({ type: fc.constantFrom("end" as const, "cancel" as const), call: u32 }),
  fc.record({ type: fc.constant("credit" as const), call: u32, bytes: u32 }),
  fc.record({
    type: fc.constantFrom("ping" as const, "pong" as const),
    token: u32,
    nowMs: fc.double({ noNaN: true }),
  }),
  fc.record({ type: fc.constant("error" as const), call: u32, error: encodedError }),
  fc.record({ type: fc.constant("farewell" as const), error: encodedError }),
  fc.record({ type: fc.constantFrom("welcome" as const, "retire" as const) }),
);
/** Without prototypes and with bytes as text, so that both sides compare as values. */
const plain = (frame: Frame): unknown =>
  JSON.stringify(
    "chunk" in frame ? { ...frame, chunk: Buffer.from(frame.chunk).toString("hex") } : frame,
  );
const sorted = (frame: Frame) => Object.entries(JSON.parse(String(plain(frame)))).sort();

test("T20: frames come out as they went in, wherever the bytes are cut", () => {
  fc.assert(
    fc.property(fc.array(frames, { maxLength: 12 }), fc.array(fc.nat(60)), (sent, cuts) => {
      const bytes = Buffer.concat(sent.map(encodeFrame));
      const reader = createFrameReader();
      const received: Frame[] = [];
      let offset = 0;
      for (const cut of cuts) {
        received.push(...reader.push(bytes.subarray(offset, offset + cut)));
        offset = Math.min(bytes.length, offset + cut);
      }
      received.push(...reader.push(bytes.subarray(offset)));
      assert.deepEqual(received.map(sorted), sent.map(sorted));
    }),
  );
});

test("T20: bytes that are no frames end in link-protocol and nothing else", () => {
  const attempt = (bytes: Uint8Array) => {
    try {
      createFrameReader().push(bytes);
    } catch (error) {
      assert.ok(error instanceof SkerryError && error.code === "link-protocol", String(error));
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), attempt));
  fc.assert(
    fc.property(frames, fc.nat(), fc.integer({ min: 1, max: 255 }), (frame, at, flip) => {
      const bytes = Uint8Array.from(encodeFrame(frame));
      bytes[at % bytes.length]! ^= flip;
      attempt(bytes);
    }),
    { numRuns: 500 },
  );
  const reader = createFrameReader();
  assert.throws(() => reader.push(Buffer.from([0xff, 0xff, 0xff, 0xff])), {
    code: "link-protocol",
  });
});

const peerOf = (name: string) => {
  const peer = parseSpiffeId(`spiffe://cell-a.skerry/node/${name}`);
  assert.ok(peer);
  return peer;
};

function linkOver(
  socket: Duplex,
  options: { router?: HandlerRouter; limits?: Partial<LinkLimits>; log?: typeof silentLog } = {},
) {
  const clock = createSimulatedClock();
  const link = createLink(
    {
      clock,
      log: options.log ?? silentLog,
      limits: { ...defaultLimits, ...options.limits },
      find: (options.router ?? createRouter()).find,
      tellMs: () => 0,
    },
    { socket, peer: peerOf("n2"), side: "acceptor" },
  );
  return { link, clock };
}

const reasonOf = (link: { closed: AbortSignal }) => (link.closed.reason as SkerryError).code;

test("T20: random frames from an authenticated peer never crash a link", async () => {
  const random = seededRandom(11);
  const arbitrary = fc.sample(frames, { numRuns: 4000, seed: 11 });
  for (let round = 0; round < 200; round++) {
    const [near, far] = duplexPair();
    const router = createRouter();
    router.handle("echo", async ({ body }) => body);
    const log = collectingLog();
    const { link } = linkOver(near, { router, log });
    far.resume();
    far.on("error", () => {});
    for (let i = 0; i < 20; i++) {
      const frame = arbitrary[random.integer(arbitrary.length)] as Frame;
      // Small even numbers hit calls that exist.
      const aimed = "call" in frame ? { ...frame, call: 1 + random.integer(6) } : frame;
      far.write(
        encodeFrame(aimed.type === "open" ? { ...aimed, method: "echo", bodyBytes: 3 } : aimed),
      );
    }
    await new Promise<void>((resolve) => setImmediate(resolve));
    assert.ok(
      !log.lines.some(({ message }) => message === "link failed"),
      JSON.stringify(log.lines),
    );
    link.close();
  }
});

test("T21: a peer that does not read is cut, having cost a bounded amount", async () => {
  const [near, far] = duplexPair();
  const router = createRouter();
  let calls = 0;
  router.handle("big", async () => {
    calls++;
    return new Uint8Array(1_000_000);
  });
  const { link } = linkOver(near, { router, limits: { bufferBytesMax: 4_000_000 } });
  for (let call = 1; !link.closed.aborted && call < 20_000; call += 2) {
    far.write(
      encodeFrame({
        type: "open",
        call,
        priority: 1,
        isStream: false,
        timeoutMs: 0,
        bodyBytes: 0,
        method: "big",
        chunk: new Uint8Array(),
      }),
    );
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  assert.equal(reasonOf(link), "link-dead");
  assert.ok(calls <= 10, `${calls} answers of 1 MB were made for nobody`);
});

test("T21: pings that nobody reads the answers of do not pile up", async () => {
  const [near, far] = duplexPair();
  const { link } = linkOver(near);
  const ping = encodeFrame({ type: "ping", token: 1, nowMs: 0 });
  const many = Buffer.concat(Array.from({ length: 1000 }, () => ping));
  for (let i = 0; !link.closed.aborted && i < 200; i++) {
    far.write(many);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  assert.equal(reasonOf(link), "link-dead");
});

test("T22: silence is counted in pings of our own: a pause of this process blames nobody", async () => {
  const [near, far] = duplexPair();
  const { link, clock } = linkOver(near, { limits: { pingMs: 1000, deadMs: 4000 } });
  far.resume();
  await clock.advance(3900);
  assert.ok(!link.closed.aborted);
  far.write(encodeFrame({ type: "pong", token: 9, nowMs: 0 }));
  await clock.advance(3900);
  assert.ok(!link.closed.aborted, "any sign of life counts");
  await clock.advance(2000);
  assert.equal(reasonOf(link), "link-dead");
});

test("T8: the outbox serves classes in order, in turn within a class, and starves none", () => {
  const order: string[] = [];
  let room = 0;
  const sink = {
    write: (bytes: Uint8Array) => {
      order.push(text(bytes));
      room--;
      return room > 0;
    },
    cork: () => {},
    uncork: () => {},
    get writableLength() {
      return room > 0 ? 0 : Number.MAX_SAFE_INTEGER;
    },
  };
  const outbox = createOutbox(sink);
  const source = (name: string, count: number) => {
    let left = count;
    return {
      next: () => (left-- > 0 ? { frame: utf8(name), isLast: left === 0 } : undefined),
      abandon: () => {},
    };
  };
  outbox.add(2, source("c", 100));
  outbox.add(1, source("b", 200));
  outbox.add(1, source("B", 200));
  outbox.control(utf8("!"));
  room = 100;
  outbox.drained();
  assert.equal(order[0], "!");
  assert.deepEqual(order.slice(1, 5).sort(), ["B", "B", "b", "b"]);
  const low = order.filter((name) => name === "c").length;
  assert.ok(low >= 2 && low <= 4, `${low} of 100`);
  assert.ok(chunkBytesMax < 64 * 1024);
});

test("a body that grows beyond what was announced ends the link", async () => {
  const [near, far] = duplexPair();
  const { link } = linkOver(near);
  far.resume();
  const open: Frame = {
    type: "open",
    call: 1,
    priority: 1,
    isStream: false,
    timeoutMs: 0,
    bodyBytes: 4,
    method: "x",
    chunk: utf8("12"),
  };
  far.write(encodeFrame(open));
  far.write(encodeFrame({ type: "body", call: 1, chunk: utf8("345") }));
  await waitFor(() => link.closed.aborted, { what: "the link to end" });
  assert.equal(reasonOf(link), "link-protocol");
});
