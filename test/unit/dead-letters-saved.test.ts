/** Dead letters over restarts of the agent: what is written down, how much of it, and what it may cost. */
import { strict as assert } from "node:assert";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  openDeadLetterFile,
  type DeadLetterStore,
} from "../../src/ingest/dead-letters-state/index.ts";
import {
  createBatcher,
  httpIngestRoutes,
  openDeadLetters,
  type DeadLetters,
  type StreamDeclaration,
} from "../../src/ingest/index.ts";
import { createTopicMapping } from "../../src/ingest/mapping.ts";
import { createPublishing } from "../../src/ingest/mqtt/publish.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { databaseFiles } from "../../src/runtime/sqlite/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { createTestStore } from "../support/ingest.ts";

const scales: StreamDeclaration = {
  ...{ name: "scales", durability: { level: "local" }, mqttTopics: ["hall/+/kg"] },
};

/** An agent's ways in, on a store that outlives it. */
async function startAgent(
  path: string,
  { clock, streams }: { clock: SimulatedClock; streams: readonly StreamDeclaration[] },
) {
  const file = openDeadLetterFile({ log: silentLog }, { path });
  const letters = await openDeadLetters({ clock, saved: { store: file, log: silentLog } });
  const store = createTestStore();
  const shared = { append: store.append, clock, metrics: createMetrics(), deadLetters: letters };
  const publish = createPublishing({
    ...{ ...shared, batcher: createBatcher(shared) },
    match: (topic) => createTopicMapping(() => streams)(topic),
    authorize: ({ id }) => id !== "spiffe://c.skerry/app/nobody",
  });
  const app = createHttpApp();
  httpIngestRoutes({ ...shared, streams: () => streams })(app);
  return { letters, store, publish, app, file };
}

const deadlineOf = async (clock: SimulatedClock, isSo: () => Promise<boolean>) => {
  for (let turn = 0; turn < 100; turn++) {
    if (await isSo()) return;
    await clock.advance(100);
  }
  assert.fail("not within ten seconds");
};
const savedCount = async (path: string) => {
  const file = openDeadLetterFile({ log: silentLog }, { path });
  try {
    return (await file.load()).length;
  } finally {
    await file.close();
  }
};

test("I20, I19: what was refused before a kill is listed after it, and taken as it was once its reason is gone", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "dead-letters.db");
  const clock = createSimulatedClock();
  const first = await startAgent(path, { clock, streams: [] });
  assert.equal(existsSync(path), false, "a node that refused nothing has no file");
  const sent = {
    ...{ topic: "streams/scales", qos: 1 as const, clientId: "scale-1", connection: {} },
    ...{ userProperties: { "skerry-producer": "p", "skerry-epoch": "1", "skerry-sequence": "4" } },
  };
  const payload = Buffer.from('{"kg":1}');
  await first.publish({ ...sent, payload, subject: { id: "spiffe://c.skerry/app/scale-1" } });
  await first.publish({ ...sent, payload, subject: { id: "spiffe://c.skerry/app/nobody" } });
  const answer = await first.app.inject({
    ...{ method: "POST", url: "/v1/streams/scales/entries?durability=local" },
    headers: {
      "content-type": "application/x-ndjson; charset=utf-8",
      authorization: "Bearer secret-of-mine",
      ...{ "skerry-producer": "h", "skerry-epoch": "2", "skerry-sequence": "7" },
    },
    payload: '{"kg":2}\n{"kg":3}\n',
  });
  assert.equal(answer.statusCode, 404);
  const cameMs = clock.wallMs();
  const before = first.letters.list();
  assert.deepEqual([before.length, before.every(({ retryable }) => retryable)], [3, true]);
  await deadlineOf(clock, async () => (await savedCount(path)) === 3);
  // Killed: nothing is closed, and nothing more is written.
  const files = databaseFiles(path)
    .filter(existsSync)
    .map((name) => readFileSync(name));
  assert.ok(
    files.every((bytes) => !bytes.includes("secret-of-mine")),
    "credentials are not kept",
  );

  await clock.advance(3_600_000);
  const streams = [scales];
  const second = await startAgent(path, { clock, streams });
  assert.deepEqual(second.letters.list(), before);
  assert.deepEqual([...second.letters.countByCode], [], "counts are of this start");
  assert.deepEqual(await second.letters.retry(() => true), {
    stored: 2,
    refused: 1,
    skipped: 0,
    left: 0,
  });
  assert.deepEqual(second.store.bodies(), [{ kg: 1 }, { kg: 2 }, { kg: 3 }]);
  assert.deepEqual(
    second.store.stored.map(({ key, atMs }) => [key?.producer, key?.sequence, atMs]),
    [
      ["p", 4, cameMs],
      ["h", 7, cameMs],
      ["h", 8, cameMs],
    ],
  );
  assert.deepEqual(
    second.letters.list().map(({ id, code }) => [id, code]),
    [[2, "forbidden"]],
  );
  await second.publish({ ...sent, payload: Buffer.from('{"$key":1}'), subject: { id: "x" } });
  assert.equal(second.letters.list()[0]?.id, 4, "numbers go on");
  await second.letters.close();
  await second.file.close();

  const third = await startAgent(path, { clock, streams });
  assert.deepEqual(
    third.letters.list().map(({ id, code }) => [id, code]),
    [
      [4, "invalid-entry"],
      [2, "forbidden"],
    ],
  );
  for (const { file } of [first, third]) await file.close();
});

const refusal = (bytes: number, fill = "x") => ({
  ...{ source: "http" as const, code: "stream-unknown", message: "there is none" },
  payload: Buffer.alloc(bytes, fill),
  again: {
    ...{ by: "http" as const, stream: "scales", sender: "a", query: {}, headers: {}, atMs: 1 },
  },
});

test("I20: a flood of refusals is bounded on the disk as in memory, and written once a second", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "dead-letters.db");
  const clock = createSimulatedClock();
  const file = openDeadLetterFile({ log: silentLog }, { path });
  let applied = 0;
  const store: DeadLetterStore = {
    load: file.load,
    apply: (batch) => (applied++, file.apply(batch)),
  };
  const letters = await openDeadLetters({ clock, saved: { store, log: silentLog } });
  for (let second = 0; second < 20; second++) {
    for (let i = 0; i < 200; i++) letters.record(refusal(i % 2 === 0 ? 200_000 : 100));
    await clock.advance(1000);
  }
  assert.ok(applied <= 21, `${applied} times written in 20 s`);
  await letters.close();
  const bytes = databaseFiles(path)
    .filter(existsSync)
    .reduce((sum, name) => sum + statSync(name).size, 0);
  assert.ok(bytes < 32 * 1024 * 1024, `${bytes} bytes on the disk`);
  await file.close();
  const again = openDeadLetterFile({ log: silentLog }, { path });
  const read = await openDeadLetters({ clock, saved: { store: again, log: silentLog } });
  assert.deepEqual([read.list().length, read.list()], [1000, letters.list()]);
  assert.equal(read.list().filter(({ retryable }) => retryable).length > 20, true);
  await again.close();
});

test("I20: telemetry that no stream takes is one letter, pushes out no other, and is never written down", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "dead-letters.db");
  const clock = createSimulatedClock();
  const file = openDeadLetterFile({ log: silentLog }, { path });
  const letters = await openDeadLetters({ clock, saved: { store: file, log: silentLog } });
  const reading = (n: number) => ({
    ...{ source: "host" as const, code: "stream-unknown", message: "there is none" },
    ...{ stream: "telemetry", payload: Buffer.from(`{"n":${n}}`) },
    again: { by: "host" as const, entries: [{ stream: "telemetry", body: `{"n":${n}}` }] },
  });
  for (let second = 1; second <= 2000; second++) {
    letters.record(reading(second));
    await clock.advance(1000);
  }
  assert.equal(existsSync(path), false, "an idle node writes nothing");
  assert.deepEqual(
    letters.list().map(({ id, excerpt }) => [id, excerpt]),
    [[1, '{"n":2000}']],
  );
  letters.record(refusal(10));
  letters.record(reading(2001));
  assert.deepEqual([...letters.countByCode], [["stream-unknown", 2002]]);
  await letters.close();
  assert.deepEqual(
    (await file.load()).map(({ id }) => id),
    [2],
  );
  await file.close();
});

test("I20: what the disk does not take stays in memory, is said once, and is written when it can be", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "dead-letters.db");
  const clock = createSimulatedClock();
  const file = openDeadLetterFile({ log: silentLog }, { path });
  let isFull = true;
  const store: DeadLetterStore = {
    load: file.load,
    async apply(batch) {
      if (isFull) throw new Error("no space left");
      await file.apply(batch);
    },
  };
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (message: string) => void warnings.push(message) };
  const letters: DeadLetters = await openDeadLetters({ clock, saved: { store, log } });
  for (let i = 0; i < 5; i++) {
    letters.record(refusal(10));
    await clock.advance(2000);
  }
  assert.deepEqual(warnings, ["what was refused is kept in memory only"]);
  assert.equal(letters.list().length, 5);
  isFull = false;
  await deadlineOf(clock, async () => (await savedCount(path)) === 5);
  await letters.close();
  await file.close();

  // Damaged, it is set aside: the agent starts, with none.
  writeFileSync(path, "no database at all".repeat(1000));
  const damaged = openDeadLetterFile({ log: silentLog }, { path });
  const empty = await openDeadLetters({ clock, saved: { store: damaged, log } });
  assert.deepEqual(empty.list(), []);
  assert.ok(existsSync(`${path}.damaged`));
  empty.record(refusal(10));
  await empty.close();
  assert.equal((await damaged.load()).length, 1);
  await damaged.close();
});
