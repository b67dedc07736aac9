/** What the drill one-address concludes: outages, failures afterwards, and who answered the network. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { RequestSample } from "../../src/drill/load/requests.ts";
import {
  oneAddressPromises,
  type OneAddressSeen,
  type Turn,
} from "../../src/drill/scripts/one-address-verdict.ts";

const turn = (fields: Partial<Turn> = {}): Turn => ({
  fault: "cut n2",
  holder: "n2",
  next: "n3",
  atMs: 0,
  fromMs: 10_000,
  healedMs: 20_000,
  settledMs: 30_000,
  short: false,
  frozen: false,
  moves: 1,
  ...fields,
});
const request = (atMs: number, failure?: string): RequestSample => ({
  atMs,
  target: "address",
  tookMs: 5,
  ...(failure === undefined ? {} : { failure }),
});
/** One each 100 ms for 40 s; those due between the two fail. */
const requests = (downMs: readonly (readonly [number, number])[]) =>
  Array.from({ length: 400 }, (_, index) => index * 100).map((atMs) =>
    request(atMs, downMs.some(([from, to]) => atMs >= from && atMs < to) ? "no answer" : undefined),
  );
const held = (seen: Partial<OneAddressSeen>) => {
  const promises = oneAddressPromises({
    turns: [
      turn(),
      turn({ fromMs: 31_000, healedMs: 32_000, settledMs: 36_000, short: true }),
      turn({ fromMs: 36_500, healedMs: 37_000, settledMs: 39_000, frozen: true }),
    ],
    patienceMs: 1000,
    samples: requests([[10_000, 12_000]]),
    acknowledgedMs: requests([]).map(({ atMs }) => atMs),
    arp: [{ fromMs: 25_000, toMs: 26_000, macs: ["a"] }],
    told: 3,
    ...seen,
  });
  return Object.fromEntries(promises.map(({ id, ok, measured }) => [id, { ok, measured }]));
};

test("an outage is the longest silence from the fault on, and one that does not end is no number", () => {
  const calm = held({});
  assert.ok(Object.values(calm).every(({ ok }) => ok));
  assert.equal(calm["W1"]?.measured, 2005);
  assert.equal(held({ samples: requests([[10_000, 14_000]]) })["W1"]?.ok, false);
  assert.equal(held({ samples: requests([[10_000, 40_000]]) })["W1"]?.ok, false);
  assert.equal(held({ samples: [] })["W1"]?.ok, false);
  assert.equal(held({ acknowledgedMs: [] })["W2"]?.ok, false);
  assert.equal(held({ turns: [] })["W1"]?.ok, false);
});

test("a request that fails once the address answered again is told", () => {
  const down = [
    [10_000, 12_000],
    [15_000, 15_100],
  ] as const;
  assert.equal(held({ samples: requests(down) })["W3"]?.measured, 1);
});

test("two that answer the network are counted after a holder's lease, and timed before", () => {
  const both = (fromMs: number) => [{ fromMs, toMs: fromMs + 1000, macs: ["a", "b"] }];
  assert.equal(held({ arp: both(25_000) })["W4"]?.measured, 1);
  assert.equal(held({ arp: both(15_000) })["W4"]?.measured, 0);
  assert.equal(held({ arp: both(15_000) })["W5"]?.measured, 5000);
  assert.equal(held({ arp: both(33_000) })["W6"]?.measured, 1000);
  assert.equal(held({ arp: [] })["W4"]?.ok, false);
  assert.equal(held({ turns: [turn({ moves: 2 })] })["W7"]?.ok, false);
  assert.equal(held({ turns: [turn({ moves: 0 })] })["W7"]?.ok, false);
  assert.equal(held({ told: 2 })["W8"]?.ok, false);
});
