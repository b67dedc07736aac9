import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import type { AppendOutcome, EntryInput } from "../../src/api/index.ts";
import { createBatcher, type BatcherOptions } from "../../src/ingest/index.ts";
import { createFairQueue } from "../../src/ingest/fair-queue.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { createShares } from "../../src/lib/shares.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { waitFor } from "../support/wait.ts";

const local = { level: "local" } as const;
const entry = (from: string, bytes = 100): EntryInput => ({
  stream: "s",
  body: new TextEncoder().encode(JSON.stringify({ from }).padEnd(bytes)),
});
const fromOf = ({ body }: EntryInput) =>
  (JSON.parse(new TextDecoder().decode(body)) as { from: string }).from;

/** A store that answers a batch when told to. */
function start(options: BatcherOptions = {}) {
  const clock = createSimulatedClock();
  const batches: { from: string[]; answer: (outcome?: AppendOutcome) => void }[] = [];
  const metrics = createMetrics();
  const batcher = createBatcher(
    {
      append: (entries, { level }) =>
        new Promise((resolve) => {
          const stored = entries.length;
          batches.push({
            from: entries.map(fromOf),
            answer: (outcome) =>
              resolve(outcome ?? { state: "reached", reached: level, stored, duplicates: 0 }),
          });
        }),
      clock,
      metrics,
    },
    options,
  );
  const message = (producer: string, connection: unknown = producer) =>
    batcher.submit({ entries: [entry(String(connection))], level: local, producer, connection });
  const request = (producer: string, entries: number, timeoutMs = 10_000) =>
    batcher.submit({
      entries: Array.from({ length: entries }, () => entry(producer)),
      level: local,
      producer,
      connection: producer,
      alone: { timeoutMs },
    });
  /** Turns of the event loop: enough for whatever is on its way to the store to be there. */
  const turns = async () => {
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  return { clock, batches, batcher, metrics, message, request, turns };
}

test("I10: while all have something waiting, nobody is ahead of another by more than two turns and an item (property)", () => {
  const quantum = 100;
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 250 }), { minLength: 3, maxLength: 12 }),
      fc.integer({ min: 2, max: 6 }),
      (costs, producers) => {
        const queue = createFairQueue<{ producer: number; cost: number }>({ quantum });
        const rounds = 40;
        for (let producer = 0; producer < producers; producer++) {
          for (let i = 0; i < rounds; i++) {
            const cost = costs[(i * (producer + 1)) % costs.length] ?? 1;
            const connection = i % 3;
            queue.push({ producer, cost }, { producer: String(producer), connection, cost });
          }
        }
        const left = Array.from({ length: producers }, () => rounds);
        const served = Array.from({ length: producers }, () => 0);
        const costMax = Math.max(...costs);
        for (let taken = queue.take(); taken; taken = queue.take()) {
          left[taken.producer] = (left[taken.producer] ?? 0) - 1;
          served[taken.producer] = (served[taken.producer] ?? 0) + taken.cost;
          if (left.some((count) => count === 0)) return;
          assert.ok(Math.max(...served) - Math.min(...served) <= 2 * quantum + costMax);
        }
      },
    ),
  );
});

test("I10: a fair queue gives everything out, once, in the order of each connection (property)", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          producer: fc.constantFrom("a", "b", "__proto__"),
          connection: fc.integer({ min: 0, max: 2 }),
          cost: fc.integer({ min: 0, max: 300 }),
          take: fc.boolean(),
        }),
        { maxLength: 300 },
      ),
      (steps) => {
        const queue = createFairQueue<{ line: string; number: number }>({ quantum: 50 });
        const given: { line: string; number: number }[] = [];
        for (const [number, { producer, connection, cost, take }] of steps.entries()) {
          queue.push({ line: `${producer}/${connection}`, number }, { producer, connection, cost });
          const item = take ? queue.take() : undefined;
          if (item) given.push(item);
        }
        for (let item = queue.take(); item; item = queue.take()) given.push(item);
        assert.equal(queue.size, 0);
        assert.equal(new Set(given.map(({ number }) => number)).size, steps.length);
        const last = new Map<string, number>();
        for (const { line, number } of given) {
          assert.ok(number > (last.get(line) ?? -1));
          last.set(line, number);
        }
      },
    ),
  );
});

test("I10: behind 20,000 messages of a flooder on 50 connections, a late message of another is in the next batch", async () => {
  const { batches, message, batcher, turns } = start();
  const flood = Array.from({ length: 20_000 }, (_, i) => message("flooder", i % 50));
  await turns();
  const before = batches.length;
  assert.ok(before < 16, `${before} batches are with the store: the rest waits where it is fair`);
  const quiet = message("quiet");
  await turns();
  assert.equal(batches.length, before, "the store has as much as it may have");
  batches[0]?.answer();
  await waitFor(() => batches.length > before, { what: "the next batch" });
  assert.ok(batches[before]?.from.includes("quiet"));
  batches[before]?.answer();
  assert.equal((await quiet).state, "reached");
  let answered = 0;
  while (answered < batches.length) {
    batches[answered++]?.answer();
    await turns();
  }
  await Promise.all(flood);
  assert.deepEqual([batcher.waitingCost, batcher.producers], [0, 0]);
});

test("I10: one connection of a producer does not keep its other connections waiting either", async () => {
  const { batches, message, turns } = start({ entriesMax: 10, storeCostMax: 1 });
  void Promise.all(Array.from({ length: 100 }, () => message("site", "busy")));
  void message("site", "quiet");
  await turns();
  assert.equal(batches.length, 1);
  assert.equal(batches[0]?.from.length, 10);
  batches[0]?.answer();
  await waitFor(() => batches.length === 2, { what: "the next batch" });
  assert.ok([batches[0], batches[1]].some((batch) => batch?.from.includes("quiet")));
});

test("I11: a producer with its share waiting is refused, another is not; all is given back", async () => {
  const { batches, batcher, request, metrics, turns } = start({
    producerCostMax: 100_000,
    costMax: 200_000,
  });
  const first = request("flooder", 250);
  const second = await request("flooder", 250);
  assert.equal(second.state, "refused");
  assert.equal(second.state === "refused" && second.code, "producer-too-fast");
  assert.match(JSON.stringify(second), /flooder has 0\.1 MiB waiting.*wait for answers/);
  const others = [request("b", 250), request("c", 1)];
  // The shared room is gone now; who asks for little still gets in, who asks for much does not.
  const [much, little] = [await request("d", 250), request("e", 10)];
  assert.equal(much.state === "refused" && much.code, "store-busy");
  await turns();
  for (const { answer } of batches) answer();
  for (const outcome of await Promise.all([first, ...others, little]))
    assert.equal(outcome.state, "reached");
  assert.deepEqual([batcher.waitingCost, batcher.producers], [0, 0]);
  const text = await metrics.render();
  assert.match(text, /skerry_ingest_refusals_total\{reason="producer-full"\} 1/);
  assert.match(text, /skerry_ingest_refusals_total\{reason="full"\} 1/);
});

test("I11: what waited for its turn as long as it may is refused and not stored", async () => {
  const { clock, batches, message, request, turns } = start({ storeCostMax: 1 });
  const first = request("a", 1);
  await turns();
  const [late, waiting] = [request("b", 1, 500), message("c")];
  await clock.advance(600);
  batches[0]?.answer();
  assert.equal((await first).state, "reached");
  const outcome = await late;
  assert.deepEqual(outcome.state === "refused" && [outcome.code, outcome.retryable], [
    "store-busy",
    true,
  ]);
  await waitFor(() => batches.length === 2, { what: "the message behind it" });
  assert.deepEqual(batches[1]?.from, ["c"]);
  batches[1]?.answer();
  assert.equal((await waiting).state, "reached");
});

test("I1: a request's counts are its own: it shares no batch with messages", async () => {
  const { batches, message, request, turns } = start();
  void message("a");
  void request("b", 3);
  void message("c");
  await turns();
  assert.deepEqual(batches.map(({ from }) => from.join("")).toSorted(), ["a", "bbb", "c"]);
});

test("shares never go over their bounds and come back to nothing (property)", () => {
  const options = { perTakerMax: 50, totalMax: 120, reserveMax: 150, littleMax: 10 };
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          taker: fc.constantFrom("a", "b", "c", "d"),
          amount: fc.integer({ min: 1, max: 80 }),
          release: fc.boolean(),
        }),
      ),
      (steps) => {
        const shares = createShares(options);
        const held: { taker: string; amount: number }[] = [];
        for (const { taker, amount, release } of steps) {
          if (shares.take(taker, amount) === "taken") held.push({ taker, amount });
          assert.ok(shares.held <= options.reserveMax);
          const back = release ? held.shift() : undefined;
          if (back) shares.release(back.taker, back.amount);
        }
        for (const { taker, amount } of held) shares.release(taker, amount);
        assert.deepEqual([shares.held, shares.takers], [0, 0]);
      },
    ),
  );
});

test("D6: an entry that retention removed lowers the level of its sender, and of nobody in the same batch", async () => {
  const { batches, batcher, turns } = start();
  const level = { level: "peer", peers: 1 } as const;
  const submit = (from: string[]) =>
    batcher.submit({
      entries: from.map((name) => entry(name)),
      ...{ level, producer: from.join(), connection: from.join() },
    });
  const counts = { stored: 3, duplicates: 2 };
  const answers = async (state: "reached" | "short") => {
    const outcomes = [submit(["a"]), submit(["b", "b-gone"]), submit(["c-gone"]), submit(["d"])];
    await turns();
    const batch = batches.shift();
    const removed = batch?.from.flatMap((name, index) => (name.endsWith("gone") ? [index] : []));
    batch?.answer({ state, reached: local, ...counts, ...(removed ? { removed } : {}) });
    return Promise.all(outcomes);
  };
  assert.deepEqual(await answers("reached"), [
    { state: "reached", reached: level, ...counts },
    { state: "reached", reached: local, ...counts, removed: [1] },
    { state: "reached", reached: local, ...counts, removed: [0] },
    { state: "reached", reached: level, ...counts },
  ]);
  assert.deepEqual(await answers("short"), [
    { state: "short", reached: local, ...counts },
    { state: "short", reached: local, ...counts, removed: [1] },
    { state: "reached", reached: local, ...counts, removed: [0] },
    { state: "short", reached: local, ...counts },
  ]);
});
