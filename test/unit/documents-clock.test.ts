/** Hybrid logical clocks: forward only, whatever the wall clock does. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createHybridClock, stampMs } from "../../src/data/documents/hybrid-clock.ts";

const at = (text: string) => Date.parse(text);

function clockAt(text: string) {
  let now = at(text);
  const clock = createHybridClock({ clock: { wallMs: () => now as never } });
  return { clock, step: (to: string) => void (now = at(to)) };
}

test("stamps grow when the wall clock stands, steps back, or is before 1970", () => {
  const { clock, step } = clockAt("2026-03-01T12:00:00Z");
  const stamps = [clock.next(), clock.next()];
  for (const time of ["2025-01-01T00:00:00Z", "1969-01-01T00:00:00Z", "2026-03-01T12:00:01Z"]) {
    step(time);
    stamps.push(clock.next());
  }
  assert.deepEqual(
    stamps,
    [...stamps].sort((a, b) => a - b),
  );
  assert.equal(new Set(stamps).size, stamps.length);
  assert.equal(stampMs(stamps.at(-1)!), at("2026-03-01T12:00:01Z"));
});

test("a stamp of the near future is taken over, one of a far one is not", () => {
  const near = clockAt("2026-03-01T12:00:30Z").clock.next();
  const far = clockAt("2027-03-01T12:00:00Z").clock.next();
  const { clock } = clockAt("2026-03-01T12:00:00Z");
  clock.observe(far);
  assert.ok(clock.next() < near);
  clock.observe(near);
  assert.equal(clock.next(), near + 1);
  assert.ok(clock.aheadMs() >= 30_000);
});

test("stamps are safe integers until 2093, and go on as a counter in 1970", () => {
  assert.ok(Number.isSafeInteger(clockAt("2093-01-01T00:00:00Z").clock.next()));
  const { clock } = clockAt("1970-01-01T00:00:00Z");
  assert.deepEqual([clock.next(), clock.next()], [1, 2]);
});
