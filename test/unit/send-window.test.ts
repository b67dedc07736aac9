/** How many batches are under way to the hub, on links of every kind, in virtual time. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createSendWindow } from "../../src/data/replication/send-window.ts";

const bounds = { min: 8, max: 64 };

/**
 * A sender that always has more, on a link that takes `roundTripMs` and, one after another, `batchMs` for
 * each. Answers how many arrived, how large the window was in the end, and how long a batch took then.
 */
function play(
  link: { roundTripMs: number; batchMs: () => number; jitterMs?: number },
  { forMs = 20_000, window = createSendWindow(bounds) } = {},
) {
  const { roundTripMs, batchMs, jitterMs = 0 } = link;
  let [atMs, freeMs, arrived, sent, tookMs] = [0, 0, 0, 0, 0];
  const underWay: { sentMs: number; answerMs: number }[] = [];
  while (atMs < forMs) {
    while (underWay.length < window.size) {
      freeMs = Math.max(freeMs, atMs) + batchMs();
      const late = jitterMs * ((sent++ * 7919) % 100) * 0.01;
      underWay.push({ sentMs: atMs, answerMs: freeMs + roundTripMs + late });
    }
    underWay.sort((a, b) => a.answerMs - b.answerMs);
    const isFull = underWay.length >= window.size;
    const next = underWay.shift();
    if (!next) break;
    atMs = next.answerMs;
    arrived++;
    tookMs = atMs - next.sentMs;
    window.answered(tookMs, isFull);
  }
  return { arrived, size: window.size, tookMs };
}
const fixed = { size: bounds.min, answered: () => undefined };

test("a link over 200 ms carries many times more than with as few batches as a near hub needs", () => {
  const far = { roundTripMs: 200, batchMs: () => 1, jitterMs: 30 };
  const found = play(far);
  assert.equal(found.size, bounds.max);
  const few = play(far, { window: fixed });
  assert.ok(found.arrived > 6 * few.arrived, `${found.arrived} against ${few.arrived}`);
});

test("a slow link is filled by few: what is urgent waits no longer than it did", () => {
  const slow = { roundTripMs: 50, batchMs: () => 75 };
  const found = play(slow);
  assert.ok(found.size <= bounds.min + 1, `${found.size}`);
  assert.ok(found.tookMs <= play(slow, { window: fixed }).tookMs * 1.2);
});

test("a link that becomes slow gets as few as before within seconds, and many again when it is fast", () => {
  const window = createSendWindow(bounds);
  const link = (batchMs: number) => ({ roundTripMs: 100, batchMs: () => batchMs });
  assert.equal(play(link(1), { window, forMs: 5000 }).size, bounds.max);
  const after = play(link(75), { window, forMs: 15_000 });
  assert.ok(after.size <= bounds.min + 1, `${after.size}`);
  assert.equal(play(link(1), { window, forMs: 5000 }).size, bounds.max);
});

test("who has little to send does not grow the window", () => {
  const window = createSendWindow(bounds);
  for (let n = 0; n < 1000; n++) window.answered(10, false);
  assert.equal(window.size, bounds.min);
});
