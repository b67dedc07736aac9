/** The pure parts of backups: dumps, archives, what is kept, and when the next is due. */
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  createTally,
  decodeRecords,
  defaultRetention,
  defaultSchedule,
  encodeRecord,
  pack,
  surplus,
  unpack,
  waitMs,
  type BackupMeta,
  type LedgerRecord,
} from "../../src/backup/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";

const isDamaged = (error: unknown) =>
  error instanceof SkerryError && error.code === "backup-damaged";

async function* inPieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
async function gather(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}
async function records(bytes: Uint8Array, size = 64): Promise<LedgerRecord[]> {
  const all: LedgerRecord[] = [];
  for await (const group of decodeRecords(inPieces(bytes, size))) all.push(...group);
  return all;
}

const record = (
  key: string,
  value: Uint8Array,
  more: Partial<LedgerRecord> = {},
): LedgerRecord => ({
  key,
  value,
  createRevision: 1,
  modRevision: 2,
  version: 2,
  ...more,
});

test("B1: every value comes back as it was, text or bytes, in pieces of any size", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          value: fc.oneof(
            fc.uint8Array({ maxLength: 60 }),
            fc.string({ unit: "grapheme", maxLength: 20 }).map((text) => Buffer.from(text)),
          ),
          leased: fc.boolean(),
        }),
        { maxLength: 20 },
      ),
      fc.integer({ min: 1, max: 200 }),
      async (given, size) => {
        const all = given.map(({ value, leased }, index) =>
          record(`/registry/core/pods/a/${index}`, new Uint8Array(value), {
            modRevision: index + 5,
            ...(leased ? { lease: "l-1" } : {}),
          }),
        );
        const file = Buffer.from(all.map(encodeRecord).join(""));
        assert.deepEqual(await records(file, size), all);
      },
    ),
  );
});

test("B1: a tally tells content apart, and counts objects by kind", () => {
  const tally = (all: readonly LedgerRecord[]) => {
    const one = createTally();
    for (const each of all) one.add(each);
    return one.content();
  };
  const value = Buffer.from("x");
  const base = [
    record("/registry/apps/deployments/default/web", value),
    record("/registry/core/pods/default/web-1", value),
    record("elections/controllers/1", value),
  ];
  assert.deepEqual(tally(base).countByKind, { "deployments.apps": 1, pods: 1, elections: 1 });
  assert.equal(tally(base).keys, 3);
  const [first = record("", value), ...rest] = base;
  const changes: Partial<LedgerRecord>[] = [
    { value: Buffer.from("y") },
    { createRevision: 2 },
    { modRevision: 3 },
    { version: 1 },
    { key: "/registry/apps/deployments/default/wea" },
  ];
  const digests = changes.map((change) => tally([{ ...first, ...change }, ...rest]).sha256);
  assert.equal(new Set([tally(base).sha256, ...digests]).size, changes.length + 1);
});

test("B1: a dump that was cut or scribbled on is refused", async () => {
  const file = Buffer.from(encodeRecord(record("a", Buffer.from("1"))).repeat(3));
  await assert.rejects(records(file.subarray(0, -1)), isDamaged);
  await assert.rejects(records(Buffer.from("{}\n")), isDamaged);
  await assert.rejects(records(Buffer.from("nonsense\n")), isDamaged);
});

test("B2: an archive comes apart as it was packed, here and by tar", async () => {
  const files = [
    { name: "manifest.json", body: Buffer.from("{}") },
    { name: "identity/ca.json", body: Buffer.alloc(512, 1) },
    { name: "tokens/a.json", body: Buffer.alloc(0) },
    { name: "ledger.ndjson.gz", body: Buffer.alloc(70_001, 2) },
  ];
  const packed = await gather(
    pack(
      files.map(({ name, body }) => ({ name, bytes: body.length, content: [body] })),
      { atMs: 1_700_000_000_000 },
    ),
  );
  const found: { name: string; body: Buffer }[] = [];
  for await (const { name, content } of unpack(inPieces(packed, 333)))
    found.push({ name, body: await gather(inOrder(content)) });
  assert.deepEqual(found, files);
  const listed = execFileSync("tar", ["-tvf", "-"], { input: packed, encoding: "utf8" });
  assert.match(listed, /-rw------- .* 70001 .* ledger\.ndjson\.gz/);
  for (const at of [100, 512, 800, packed.length - 1100]) {
    const cut = packed.subarray(0, at);
    await assert.rejects(async () => {
      for await (const { content } of unpack(inPieces(cut, 64))) await gather(inOrder(content));
    }, isDamaged);
  }
});

async function* inOrder(content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
  yield* content;
}

const hourMs = 3_600_000;
const nowMs = 1_800_000_000_000;
const meta = (agoMs: number, bytes = 1000): BackupMeta => ({
  id: `mill-${agoMs}`,
  cell: "mill",
  by: "n1",
  atMs: nowMs - agoMs,
  revision: nowMs - agoMs,
  keys: 1,
  bytes,
  sha256: "0".repeat(64),
  recipients: ["age1"],
});

test("B3: the newest of each of 24 hours and 7 days stay", () => {
  const tenDays = Array.from({ length: 10 * 24 * 2 }, (_, index) => meta((index * hourMs) / 2));
  const gone = new Set(surplus(tenDays, defaultRetention));
  const kept = tenDays.filter((one) => !gone.has(one));
  assert.ok(kept.length >= 24 + 5 && kept.length <= 24 + 7, `${kept.length}`);
  assert.ok(kept.includes(tenDays[0] ?? meta(0)));
  assert.ok(kept.every(({ atMs }) => nowMs - atMs <= 7 * 24 * hourMs));
  const days = new Set(kept.map(({ atMs }) => Math.floor(atMs / (24 * hourMs))));
  assert.equal(days.size, 7);
  assert.deepEqual(surplus(kept, defaultRetention), [], "what was kept is kept again");
});

test("B3: a budget takes the oldest, never the newest", () => {
  const metas = [0, 1, 2, 3].map((hours) => meta(hours * hourMs, 400));
  const ids = (bytesMax: number) =>
    surplus(metas, { ...defaultRetention, bytesMax }).map(({ id }) => id);
  assert.deepEqual(ids(900), [metas[3]?.id, metas[2]?.id]);
  assert.deepEqual(ids(10), [metas[3]?.id, metas[2]?.id, metas[1]?.id]);
  assert.deepEqual(surplus([], defaultRetention), []);
});

test("B4: the first backup comes soon after the start, the next after a period, jitter apart", () => {
  const schedule = defaultSchedule;
  const at = (now: Partial<Parameters<typeof waitMs>[1]>) =>
    waitMs(schedule, { ageMs: undefined, upMs: 0, failures: 0, share: 0, ...now });
  assert.equal(at({}), schedule.firstMs);
  assert.equal(at({ upMs: 60_000 }), 0);
  assert.equal(at({ ageMs: 60_000, upMs: 60_000 }), schedule.periodMs - 60_000);
  assert.equal(at({ ageMs: 60_000, upMs: 60_000, share: 1 }), schedule.periodMs * 1.1 - 60_000);
  assert.equal(at({ ageMs: 5 * hourMs, upMs: 5000 }), schedule.firstMs - 5000);
  assert.equal(at({ ageMs: -hourMs, upMs: 60_000 }), 0, "a clock that was set back");
  assert.ok(at({ failures: 1, upMs: hourMs }) > schedule.firstMs);
  assert.ok(at({ failures: 50, upMs: hourMs }) <= 300_000, "a failed try is not left for an hour");
});
