/** What the agent adds to rule E and the ladder: the hub's word, the host's strain. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createHubWord } from "../../src/agent/hub-word.ts";
import { shortages, watchHostStrain } from "../../src/agent/host-strain.ts";
import type { MonotonicMs } from "../../src/lib/brand.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import type { HostSample } from "../../src/runtime/host/index.ts";

const at = (ms: number) => ms as MonotonicMs;

test("M5: a hub just reached has listened no longer than others need to come back to it", () => {
  const word = createHubWord();
  const link = {};
  const ask = (heard: Record<string, number>, ms: number, over: object = link) =>
    word.believe({ link: over, heard, sentMs: at(ms - 10), nowMs: at(ms) });
  // As old as the answer was long under way.
  assert.deepEqual(ask({ n2: 60_000 }, 10), { heard: { n2: 60_010 }, listenedForMs: 10 });
  let listenedForMs = 0;
  for (let ms = 1010; ms <= 16_010; ms += 1000) ({ listenedForMs } = ask({}, ms));
  assert.equal(listenedForMs, Infinity);
  // Another link: the hub may have been started anew.
  assert.equal(ask({}, 17_010, {}).listenedForMs, 10);
});

test("M5: a gap in the hub's answers begins the wait anew", () => {
  const word = createHubWord();
  const link = {};
  const ask = (ms: number) =>
    word.believe({ link, heard: {}, sentMs: at(ms), nowMs: at(ms) }).listenedForMs;
  for (let ms = 0; ms <= 20_000; ms += 1000) ask(ms);
  assert.equal(ask(21_000), Infinity);
  assert.equal(ask(27_000), 0);
});

const GiB = 2 ** 30;
type Readings = Parameters<typeof shortages>[0];
const host = (more: Partial<Readings> = {}): Readings => ({
  atMonotonicMs: 10_000,
  pressure: { io: { someUs: 0, fullUs: 0 }, memory: { someUs: 0, fullUs: 0 } },
  memory: { totalBytes: 8 * GiB, availableBytes: 4 * GiB },
  diskFreeBytes: 50 * GiB,
  diskTotalBytes: 100 * GiB,
  ...more,
});

test("starved: disk, memory or stalls; a twentieth of something large is plenty", () => {
  const before = host({ atMonotonicMs: 0 });
  const cases: [Partial<Readings>, RegExp | undefined][] = [
    [{}, undefined],
    [{ diskFreeBytes: 4 * GiB }, /^disk: 4/],
    [{ diskFreeBytes: 200 * 2 ** 20, diskTotalBytes: 2 * GiB }, /^disk/],
    [{ diskFreeBytes: 300 * 2 ** 20, diskTotalBytes: 2 * GiB }, undefined],
    [{ diskFreeBytes: 100 * GiB, diskTotalBytes: 4000 * GiB }, undefined],
    [{ memory: { totalBytes: 8 * GiB, availableBytes: 0.3 * GiB } }, /^memory/],
    [{ memory: { totalBytes: 512 * GiB, availableBytes: 12 * GiB } }, undefined],
    [{ pressure: { io: { someUs: 9e6, fullUs: 4.1e6 } } }, /^io: .* 41 %/],
    [{ pressure: { io: { someUs: 9e6, fullUs: 3.9e6 } } }, undefined],
    [{ pressure: { memory: { someUs: 9e6, fullUs: 5e6 } } }, /^memory: .* 50 %/],
    // What the host does not tell is no reason.
    [{ pressure: {}, memory: undefined, diskFreeBytes: undefined }, undefined],
  ];
  for (const [more, words] of cases) {
    const short = shortages(host(more), before);
    if (words) assert.match(short.join(), words);
    else assert.deepEqual(short, []);
  }
  assert.deepEqual(shortages(host({ pressure: { io: { someUs: 9e9, fullUs: 9e9 } } })), []);
});

test("the strain follows the samples, and a host that cannot be measured is not called starved", async () => {
  const clock = createSimulatedClock();
  let next: Readings | Error = host({ diskFreeBytes: 0 });
  const sample = async (): Promise<HostSample> => {
    if (next instanceof Error) throw next;
    return { ...next, atMonotonicMs: clock.monotonicMs(), processBytes: 0 };
  };
  const strain = watchHostStrain({ clock, log: silentLog, host: { sample } });
  await clock.advance(1);
  assert.equal(strain.resources, "starved");
  next = host();
  await clock.advance(5000);
  assert.equal(strain.resources, "enough");
  next = new Error("gone");
  await clock.advance(5000);
  assert.equal(strain.resources, "enough");
  strain.stop();
});
