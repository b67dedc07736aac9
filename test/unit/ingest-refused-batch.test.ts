/** One entry that the store refuses among many that it takes. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import type { AppendOutcome, EntryInput } from "../../src/api/index.ts";
import { checkBody, checkRequest } from "../../src/data/streams/check.ts";
import { createBatcher } from "../../src/ingest/index.ts";
import { parseObjectEntry, parsePayload } from "../../src/ingest/entry-body.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { waitFor } from "../support/wait.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const declared = new Map([["s", true]]);

test("what ingest takes the store takes: keys, times and bodies (property)", () => {
  const producer = fc.oneof(
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.integer({ min: 100, max: 300 }).map((length) => "ü".repeat(length / 2)),
    fc.constantFrom("\ud800", "a\ud800b", "p".repeat(128), "p".repeat(129), "\u0000"),
  );
  const at = fc.oneof(
    fc.constantFrom("9999-01-01", "1969-12-31T23:59:59Z", "2100-01-01", "2100-01-01T00:00:01Z"),
    fc.integer({ min: 4_102_444_800_000 - 2, max: 4_102_444_800_000 + 2 }),
    fc.integer({ min: -2, max: 2 }),
    fc.double(),
  );
  const value = fc.oneof(fc.jsonValue(), fc.constant("1e20 ".repeat(50)));
  const line = fc
    .record({ $key: fc.record({ producer, epoch: fc.nat(), sequence: fc.nat() }), $at: at, value })
    .chain((whole) => fc.subarray(Object.entries(whole)))
    .map((fields) => bytes(JSON.stringify(Object.fromEntries(fields))));
  const numbers = fc
    .integer({ min: 10_000, max: 60_000 })
    .map((count) => bytes(`{"$at":1,"a":[${"1e20,".repeat(count)}1]}`));
  const binary = fc.integer({ min: 100_000, max: 262_144 }).map((size) => Buffer.alloc(size, 0xff));
  const quotes = fc.integer({ min: 100_000, max: 262_144 }).map((size) => Buffer.alloc(size, '"'));
  let taken = 0;
  const storeTakes = (payload: Uint8Array) => {
    for (const parsed of [parsePayload(payload), parseObjectEntry(payload)]) {
      if (!parsed.ok) continue;
      taken++;
      const entry = { stream: "s", ...parsed.entry };
      assert.equal(checkRequest([entry], declared)?.message, undefined);
      assert.equal(checkBody(entry.body, 0)?.message, undefined);
    }
  };
  fc.assert(fc.property(line, storeTakes), { numRuns: 500 });
  fc.assert(fc.property(fc.oneof(numbers, binary, quotes), storeTakes), { numRuns: 30 });
  assert.ok(taken > 200, `${taken} were taken`);
});

const refused = (code: string): AppendOutcome => ({
  ...{ state: "refused", code, message: code, retryable: false },
});
const local = { level: "local" } as const;

/** `judge` says what is refused of a batch; `stalls`: what is stored is never answered. */
function start(judge: (entries: readonly EntryInput[]) => string | undefined, stalls = false) {
  const clock = createSimulatedClock();
  const appends: EntryInput[][] = [];
  const stored: EntryInput[] = [];
  const batcher = createBatcher({
    ...{ clock, metrics: createMetrics() },
    async append(entries, { level }) {
      appends.push([...entries]);
      // The thread's answer.
      await new Promise((resolve) => setImmediate(resolve));
      const code = judge(entries);
      if (code !== undefined) return refused(code);
      stored.push(...entries);
      if (stalls) await new Promise(() => {});
      return { state: "reached", reached: level, stored: entries.length, duplicates: 0 };
    },
  });
  const send = (
    text: string,
    { connection = text as unknown, streams = ["s"] as readonly string[] } = {},
  ) =>
    batcher.submit({
      entries: streams.map((stream) => ({ stream, body: bytes(text) })),
      ...{ level: local, producer: "gateway", connection },
    });
  return { appends, stored, send, batcher };
}

const textOf = ({ body }: EntryInput) => new TextDecoder().decode(body);
const isBad = (entries: readonly EntryInput[]) =>
  entries.some((entry) => textOf(entry).startsWith("bad")) ? "invalid-entry" : undefined;

test("I22: one bad entry among 500 costs some 2 log2(n) appends, and is the only one refused", async () => {
  const { appends, send, stored, batcher } = start(isBad);
  const good = Array.from({ length: 500 }, (_, i) => send(`good ${i}`));
  const bad = send("bad");
  for (const outcome of await Promise.all(good)) assert.equal(outcome.state, "reached");
  assert.equal((await bad).state, "refused");
  assert.equal(stored.length, 500);
  assert.ok(appends.length <= 2 * Math.ceil(Math.log2(501)) + 1, `${appends.length} appends`);
  assert.deepEqual([batcher.waitingCost, batcher.producers], [0, 0]);
});

test("I22: nobody waits until others have reached their level", async () => {
  const { send, stored } = start(isBad, true);
  const good = Array.from({ length: 64 }, (_, i) => send(`good ${i}`));
  let answer = "";
  void send("bad").then(({ state }) => (answer = state));
  await waitFor(() => stored.length === good.length, { what: "all others with the store" });
  await waitFor(() => answer === "refused", { what: "the bad one's answer" });
});

test("I22: a batch that is out holds up nothing of its connections, and what is sent again of it may come later", async () => {
  const appends: string[][] = [];
  const stored: string[] = [];
  const first = Promise.withResolvers<undefined>();
  const batcher = createBatcher({
    ...{ clock: createSimulatedClock(), metrics: createMetrics() },
    async append(entries, { level }) {
      appends.push(entries.map(textOf));
      if (appends.length === 1) await first.promise;
      const code = isBad(entries);
      if (code !== undefined) return refused(code);
      stored.push(...entries.map(textOf));
      return { state: "reached", reached: level, stored: entries.length, duplicates: 0 };
    },
  });
  const send = (text: string, connection: string) =>
    batcher.submit({
      entries: [{ stream: "s", body: bytes(text) }],
      ...{ level: local, producer: "gateway", connection },
    });
  const [bad, one] = [send("bad", "neighbour"), send("good 1", "c")];
  await waitFor(() => appends.length === 1, { what: "the first batch with the store" });
  const two = send("good 2", "c");
  await waitFor(() => stored.length === 1, { what: "the second batch, stored" });
  first.resolve(undefined);
  assert.deepEqual(
    (await Promise.all([bad, one, two])).map(({ state }) => state),
    ["refused", "reached", "reached"],
  );
  assert.deepEqual(stored, ["good 2", "good 1"]);
  assert.deepEqual(appends.slice(0, 2), [["bad", "good 1"], ["good 2"]]);
});

test("I22: of a batch, what one connection sends to the same streams stays in its order (property)", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          connection: fc.nat({ max: 2 }),
          bad: fc.nat({ max: 5 }).map((n) => n === 0),
          streams: fc.constantFrom(["a"], ["b"], ["a", "b"]),
        }),
        { minLength: 2, maxLength: 60, size: "max" },
      ),
      async (messages) => {
        const { send, stored } = start(isBad);
        const outcomes = await Promise.all(
          messages.map(({ connection, bad, streams }, i) =>
            send(`${bad ? "bad" : "good"} ${connection} ${streams.join("+")} ${i}`, {
              ...{ connection, streams },
            }),
          ),
        );
        assert.deepEqual(
          outcomes.map(({ state }) => state),
          messages.map(({ bad }) => (bad ? "refused" : "reached")),
        );
        const last = new Map<string, number>();
        for (const entry of stored) {
          const [, connection, topic, number] = textOf(entry).split(" ");
          const line = `${connection} ${topic} ${entry.stream}`;
          assert.ok(Number(number) > (last.get(line) ?? -1), `${line}: ${number} is late`);
          last.set(line, Number(number));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("I22: a stream that takes nothing at a level costs its neighbours two appends", async () => {
  const { appends, send } = start((entries) =>
    entries.some(({ stream }) => stream === "stays") ? "level-impossible" : undefined,
  );
  const outcomes = await Promise.all(
    Array.from({ length: 100 }, (_, i) => send(`m${i}`, { streams: [i % 2 ? "stays" : "s"] })),
  );
  assert.equal(outcomes.filter(({ state }) => state === "refused").length, 50);
  assert.equal(appends.length, 3);
});

test("I22: of a store that failed nothing is sent again: what it did is not known", async () => {
  let appends = 0;
  const batcher = createBatcher({
    ...{ clock: createSimulatedClock(), metrics: createMetrics() },
    async append() {
      appends++;
      throw new Error("the thread ended");
    },
  });
  const submit = (connection: string) =>
    batcher.submit({
      entries: [{ stream: "s", body: bytes("{}") }],
      ...{ level: local, producer: connection, connection },
    });
  for (const outcome of await Promise.all([submit("a"), submit("b")]))
    assert.equal(outcome.state, "refused");
  assert.equal(appends, 1);
});
