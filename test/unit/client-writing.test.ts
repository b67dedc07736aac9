/** What the client sends again, how often and when, and what it tells where it gave up. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createClient, createDocuments, importCsv } from "../../src/client/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import type { SkerryError } from "../../src/lib/errors.ts";

type Sent = { readonly atMs: number; readonly headers: Headers; readonly body: string };
type Answer = (init: RequestInit | undefined) => Response | Promise<Response>;

const done: Answer = () =>
  Response.json({ reached: "local", stored: 1, duplicates: 0, changed: 1 });
const lost: Answer = () => {
  throw new TypeError("fetch failed");
};
const silent: Answer = (init) =>
  new Promise((_, reject) => {
    init?.signal?.addEventListener("abort", () => reject(init.signal?.reason));
  });
const brokenOff: Answer = () =>
  new Response(new ReadableStream({ start: (body) => body.error(new TypeError("terminated")) }));
const refused =
  (status: number, code: string, retryable: boolean, retryAfter?: string): Answer =>
  () =>
    Response.json(
      { error: { code, message: code, retryable } },
      { status, ...(retryAfter === undefined ? {} : { headers: { "retry-after": retryAfter } }) },
    );
const rateLimited = refused(429, "rate-limited", true, "2");
const proxy: Answer = () => new Response("<h1>502</h1>", { status: 502 });

/** Answers in this order, the last one for ever. */
function site(...answers: readonly Answer[]) {
  const clock = createSimulatedClock();
  const sent: Sent[] = [];
  const fetched: typeof fetch = async (_input, init) => {
    const answer = answers[Math.min(sent.length, answers.length - 1)] ?? done;
    const { headers, body } = init ?? {};
    sent.push({ atMs: clock.monotonicMs(), headers: new Headers(headers), body: String(body) });
    return await answer(init);
  };
  const options = { url: "http://n1", fetch: fetched, clock };
  return {
    sent,
    clock,
    options,
    streams: createClient(options),
    documents: createDocuments(options),
    /** What it comes to, and when. */
    async outcome(work: Promise<unknown>) {
      const over: { code: string; atMs: number; error?: SkerryError }[] = [];
      work.then(
        () => over.push({ code: "done", atMs: clock.monotonicMs() }),
        (error: SkerryError) => over.push({ code: error.code, atMs: clock.monotonicMs(), error }),
      );
      while (over.length === 0 && clock.monotonicMs() < 200_000) await clock.advance(50);
      return over[0] ?? assert.fail("it came to nothing");
    },
  };
}

const key = { producer: "p1", epoch: 1, sequence: 7 };
const keyed = [{ grams: 1, $key: key }];

test("what was turned away is sent again, key or not, and no sooner than it was asked to", async () => {
  for (const write of [
    ({ streams }: ReturnType<typeof site>) => streams.append("scales", [{ grams: 1 }]),
    ({ streams }: ReturnType<typeof site>) => streams.appendLines("scales", ['{"grams":1}']),
    ({ documents }: ReturnType<typeof site>) => documents.put("items", "bolt", { stock: 1 }),
  ]) {
    const turnedAway = site(rateLimited, refused(429, "store-busy", true), done);
    assert.equal((await turnedAway.outcome(write(turnedAway))).code, "done");
    const [first, second, third, ...more] = turnedAway.sent.map(({ atMs }) => atMs);
    assert.ok((second ?? 0) - (first ?? 0) >= 2000, `${first} ${second}`);
    assert.ok((third ?? 0) - (second ?? 0) < 1000, `${second} ${third}`);
    assert.equal(more.length, 0);
  }
});

test("without a key nothing is sent again that may have happened", async () => {
  for (const [answer, code] of [
    [lost, "not-answering"],
    [proxy, "refused"],
    [brokenOff, "not-answering"],
    [refused(503, "write-unknown", true, "1"), "write-unknown"],
  ] as const)
    for (const write of [
      ({ streams }: ReturnType<typeof site>) => streams.append("s", [...keyed, { grams: 2 }]),
      ({ streams }: ReturnType<typeof site>) => streams.appendLines("s", ['{"grams":1}']),
      ({ documents }: ReturnType<typeof site>) =>
        documents.change("items", "bolt", [{ change: "increment", path: "/stock", by: 1 }]),
    ]) {
      const once = site(answer, done);
      assert.equal((await once.outcome(write(once))).code, code);
      assert.equal(once.sent.length, 1);
    }
});

test("with keys the same is sent again until there is an answer", async () => {
  const answers = [lost, proxy, brokenOff, refused(503, "write-unknown", true, "1"), done];
  for (const write of [
    ({ streams }: ReturnType<typeof site>) => streams.append("s", [{ grams: 1 }], { key }),
    ({ streams }: ReturnType<typeof site>) => streams.append("s", keyed),
    ({ streams }: ReturnType<typeof site>) => streams.appendLines("s", ['{"a":1}'], { key }),
    ({ documents }: ReturnType<typeof site>) =>
      documents.merge("items", "bolt", { stock: 1 }, { key: "sale 1" }),
    ({ options }: ReturnType<typeof site>) => {
      const file = Buffer.from("grams\n1\n");
      const source = { id: "f", name: "f.csv", bytes: file.length, chunks: () => [file] };
      return importCsv(source, { ...options, stream: "s" });
    },
  ]) {
    const away = site(...answers);
    assert.equal((await away.outcome(write(away))).code, "done");
    assert.equal(away.sent.length, answers.length);
    const what = away.sent.map(({ headers, body }) => JSON.stringify([[...headers], body]));
    assert.equal(new Set(what).size, 1, what.join("\n"));
  }
});

test("with keys it is sent again while the store has not said what became of it, else told as it is", async () => {
  const memory: Answer = () =>
    Response.json({ reached: "memory", asked: "local", stored: 0, duplicates: 0 }, { status: 202 });
  const there: Answer = () => Response.json({ reached: "local", stored: 0, duplicates: 1 });
  const late = site(memory, memory, there);
  const append = late.streams.append("s", keyed);
  assert.equal((await late.outcome(append)).code, "done");
  assert.deepEqual(await append, { reached: "local", stored: 0, duplicates: 1 });
  assert.equal(late.sent.length, 3);

  const never = site(memory);
  const file = Buffer.from("grams\n1\n");
  const source = { id: "f", name: "f.csv", bytes: file.length, chunks: () => [file] };
  const told = await never.outcome(importCsv(source, { ...never.options, stream: "s" }));
  assert.deepEqual([told.code, told.error?.retryable], ["outcome-unknown", true]);

  const once = site(memory);
  assert.equal((await once.streams.append("s", [{ grams: 1 }])).reached, "memory");
  const asked = site(() => Response.json({ reached: "memory", stored: 1, duplicates: 0 }));
  const options = { key, durability: "memory" };
  assert.equal((await asked.streams.append("s", [{ grams: 1 }], options)).reached, "memory");
  assert.deepEqual([once.sent.length, asked.sent.length], [1, 1]);
});

test("it is tried for 30 s, and what is thrown says what is known and when to come back", async () => {
  const busy = site(rateLimited);
  const given = await busy.outcome(busy.streams.append("s", keyed));
  assert.equal(given.code, "rate-limited");
  assert.deepEqual([given.error?.retryable, given.error?.details], [true, { retryAfterMs: 2000 }]);
  assert.ok(given.atMs > 20_000 && given.atMs <= 30_050, `${given.atMs}`);

  // What lies beyond is not waited for.
  const later = site(refused(503, "store-busy", true, "60"));
  const told = await later.outcome(later.documents.put("items", "bolt", {}, { key: "k" }));
  assert.deepEqual([told.code, told.atMs, later.sent.length], ["store-busy", 0, 1]);
  assert.deepEqual(told.error?.details, { retryAfterMs: 60_000 });

  // In doubt it stays in doubt, whatever is said of a later one that changed nothing.
  const doubtful = site(lost, rateLimited, refused(403, "forbidden", false));
  assert.equal((await doubtful.outcome(doubtful.streams.append("s", keyed))).code, "not-answering");
  const clear = site(rateLimited, refused(403, "forbidden", false));
  assert.equal((await clear.outcome(clear.streams.append("s", keyed))).code, "forbidden");
});

test("who says nothing is waited for as long as the write may take, and 30 s", async () => {
  const quiet = site(silent);
  const options = { timeoutMs: 5000 };
  const told = await quiet.outcome(quiet.documents.put("items", "bolt", {}, options));
  assert.deepEqual([told.code, quiet.sent.length], ["not-answering", 1]);
  assert.ok(told.atMs >= 35_000 && told.atMs <= 35_050, `${told.atMs}`);
  const again = site(silent);
  assert.equal((await again.outcome(again.streams.append("s", keyed))).code, "not-answering");
  assert.equal(again.sent.length, 1);
  assert.equal(again.clock.pending + quiet.clock.pending, 0);
});

test("an abort ends the pause: with its reason, or with what is in doubt", async () => {
  for (const [answer, code] of [
    [rateLimited, "AbortError"],
    [lost, "not-answering"],
  ] as const) {
    const away = site(answer);
    const control = new AbortController();
    const { signal } = control;
    const work = away.streams.append("s", [{ grams: 1 }], { key, signal });
    const told = assert.rejects(work, (error: SkerryError) =>
      [error.code, error.name].includes(code),
    );
    await away.clock.advance(10);
    assert.equal(away.sent.length, 1);
    control.abort();
    await told;
    assert.equal(away.clock.pending, 0);
  }
});
