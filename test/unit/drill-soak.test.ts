/** The soak's verdict finds what grows, and nothing else. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  growthLine,
  growthOf,
  soakPromises,
  trendOf,
  type SoakSample,
  type SoakSeen,
} from "../../src/drill/scripts/soak-verdict.ts";
import { roleOf, weigh } from "../../src/drill/scripts/soak-sample.ts";
import { seededRandom } from "../../src/lib/random.ts";

const MB = 1e6;
const minuteMs = 60_000;
const forMs = 10 * minuteMs;

/** Ten minutes of one process a second: what it holds, and noise. */
function series(
  place: string,
  plant: { leakMbPerMinute?: number; fromMs?: number; toMs?: number; pid?: number } = {},
): SoakSample[] {
  const random = seededRandom(7);
  const { leakMbPerMinute = 0, fromMs = 0, toMs = forMs, pid = 1 } = plant;
  return Array.from({ length: (toMs - fromMs) / 1000 }, (_, second) => {
    const livedMs = second * 1000;
    const start = 20 * MB * (1 - Math.exp(-livedMs / 20_000));
    const garbage = random.float() * MB;
    const leak = (leakMbPerMinute * MB * livedMs) / minuteMs;
    return {
      atMs: fromMs + livedMs,
      place,
      pid,
      ownBytes: 60 * MB + start + garbage + leak,
      fileHandles: 40 + random.integer(4),
      threads: 13,
    };
  });
}

/** `share` of what is planted is alive in heaps; the rest lies around them. */
const seenOf = (samples: readonly SoakSample[], share = 1): SoakSeen => ({
  samples,
  held: samples
    .filter((_, index) => index % 15 === 0)
    .map((sample) => ({
      ...sample,
      dataBytes: 30 * MB + share * (sample.ownBytes - 60 * MB),
      codeBytes: 8 * MB,
    })),
  warmUpMs: 90_000,
  firstFaultMs: 150_000,
  quietFromMs: 510_000,
  otherFilesBytes: MB,
});
const broken = (seen: SoakSeen) =>
  soakPromises(seen)
    .filter(({ ok }) => !ok)
    .map(({ id }) => id);

test("soak: what only warms up and collects its garbage holds every promise", () => {
  const restarted = [
    ...series("n2 agent", { toMs: 300_000 }),
    ...series("n2 agent", { fromMs: 301_000, pid: 2 }),
  ];
  assert.deepEqual(broken(seenOf([...series("n1 agent"), ...series("n1 keeper")])), []);
  assert.deepEqual(broken(seenOf([...series("n1 agent"), ...restarted])), []);
});

test("soak: a planted leak is found in whichever process, in its heaps and around them", () => {
  const leaking = series("n1 keeper", { leakMbPerMinute: 0.5, pid: 3 });
  const seen = seenOf([...series("n1 agent"), ...leaking]);
  assert.deepEqual(broken(seen), ["W1", "W7"]);
  const found = growthOf(seen).find(({ pid }) => pid === 3);
  assert.ok(found, "judged");
  const { atLeast, slope } = found.alive;
  assert.ok(atLeast > 0.3 * MB && slope < 0.7 * MB, JSON.stringify(found));
  assert.match(growthLine(found), /^n1 keeper \(pid 3\): holds 0\.[3-7]\d\d MB\/min, surely/);

  const outside = series("n1 keeper", { leakMbPerMinute: 0.5, pid: 3 });
  assert.deepEqual(broken(seenOf([...series("n1 agent"), ...outside], 0)), ["W7"]);
});

test("soak: handles and threads that stay after the last fault are found", () => {
  const plant = (field: "fileHandles" | "threads") =>
    series("hub").map((sample) =>
      sample.atMs < 150_000
        ? sample
        : { ...sample, [field]: sample[field] + Math.floor((sample.atMs - 150_000) / 20_000) },
    );
  assert.deepEqual(broken(seenOf(plant("fileHandles"))), ["W3"]);
  assert.deepEqual(broken(seenOf(plant("threads"))), ["W4"]);
  assert.deepEqual(broken({ ...seenOf(series("hub")), otherFilesBytes: 1e9 }), ["W5"]);
});

test("soak: what was not watched is not held", () => {
  assert.deepEqual(broken(seenOf([])), ["W1", "W7", "W2", "W3", "W4", "W6"]);
  assert.deepEqual(broken(seenOf(series("hub", { toMs: 100_000 }))), [
    "W1",
    "W7",
    "W2",
    "W3",
    "W4",
  ]);
});

test("soak: a trend is the median slope, which wild samples do not move", () => {
  const points = Array.from({ length: 30 }, (_, index) => ({
    atMs: index * minuteMs,
    value: index % 10 === 0 ? 1e9 : 3 * index,
  }));
  const trend = trendOf(points);
  assert.ok(trend && Math.abs(trend.slope - 3) < 0.5, JSON.stringify(trend));
  assert.equal(trendOf(points.slice(0, 2)), undefined);
});

test("soak: a process is weighed, and one that has ended is not", () => {
  const own = weigh(process.pid);
  assert.ok(own && own.pssBytes > own.anonymousBytes / 2 && own.anonymousBytes > MB);
  assert.ok(own.fileHandles > 2 && own.threads > 1 && own.cpuMs > 0);
  assert.equal(weigh(2 ** 22 + 1), undefined);
  assert.equal(roleOf(process.pid), undefined);
});
