import { strict as assert } from "node:assert";
import { test } from "node:test";
import { seededRandom } from "../../src/lib/random.ts";
import { createNodeWatch } from "../../src/traffic/engines/node/node-watch.ts";
import { createStallingClock } from "../support/stalling-clock.ts";

/** A watch of one node whose proxy answers as `node` says. */
function watched() {
  const clock = createStallingClock();
  const node = { answers: true, roundTripMs: 1 };
  const events: string[] = [];
  const pings: number[] = [];
  const watch = createNodeWatch(
    {
      clock,
      random: seededRandom(7),
      ping: async (_name, limitMs) => {
        pings.push(clock.monotonicMs());
        const answers = node.answers && node.roundTripMs < limitMs;
        await clock.sleep(answers ? node.roundTripMs : limitMs);
        return answers;
      },
      onSilent: (name) => void events.push(`${name} silent at ${clock.monotonicMs()}`),
      onLost: (name) => void events.push(`${name} lost`),
      onHeard: (name) => void events.push(`${name} heard`),
      onForgotten: (name) => void events.push(`${name} forgotten`),
    },
    { patienceMs: 150, pongMs: 200, silenceMs: 5_000 },
  );
  const begin = (movable: boolean) => {
    const state = { abortedAtMs: undefined as number | undefined, reason: undefined as unknown };
    const turn = watch.begin("n2", {
      canMove: () => movable,
      abort(reason) {
        state.abortedAtMs ??= clock.monotonicMs();
        state.reason ??= reason;
        turn.end();
      },
    });
    return Object.assign(state, turn);
  };
  return { clock, node, events, pings, watch, begin };
}

test("T12: a slow application costs pings and nothing else", async () => {
  const { clock, events, pings, watch, begin } = watched();
  const slow = begin(true);
  await clock.advance(149);
  assert.equal(pings.length, 0, "patience first");
  await clock.advance(30_000);
  assert.ok(pings.length > 10);
  assert.equal(slow.abortedAtMs, undefined);
  assert.deepEqual(events, []);
  slow.end();
  await clock.advance(60);
  assert.equal(clock.pending, 0, "nothing ticks while nothing waits");
  watch.close();
});

test("T12: a ping whose limit came late, for this thread stood still, is asked again, once", async () => {
  const { clock, node, events, pings, watch, begin } = watched();
  node.answers = false;
  begin(false);
  await clock.advance(250);
  assert.equal(pings.length, 1);
  clock.stall(3_000);
  node.answers = true;
  await clock.advance(200);
  assert.equal(pings.length, 2, "what was answered lies unread");
  assert.deepEqual(events, []);

  node.answers = false;
  await clock.advance(2_100);
  const asked = pings.length;
  clock.stall(3_000);
  await clock.advance(200);
  clock.stall(3_000);
  await clock.advance(250);
  assert.equal(pings.length, asked + 1);
  assert.equal(events.length, 1, "always late, and still it finds out");
  watch.close();
});

test("T12: without a pong the node is silent within 400 ms, what may move moves, the rest is cut after 5 s", async () => {
  const { clock, node, events, watch, begin } = watched();
  const [movable, fixed, answering] = [begin(true), begin(false), begin(true)];
  answering.heard();
  node.answers = false;
  await clock.advance(400);
  assert.equal(events.length, 1);
  assert.ok(watch.isSilent("n2"));
  assert.equal(watch.silentCount, 1);
  assert.ok((movable.abortedAtMs ?? Infinity) <= 400);
  assert.equal(fixed.abortedAtMs, undefined);
  assert.equal(answering.abortedAtMs, undefined, "an answer that has begun cannot move");
  const late = begin(true);
  await clock.advance(50);
  assert.ok(late.abortedAtMs !== undefined, "what comes in silence moves at once");
  await clock.advance(5_000);
  assert.ok(fixed.abortedAtMs !== undefined && answering.abortedAtMs !== undefined);
  assert.equal((fixed.reason as { gaveUp: boolean }).gaveUp, true);
});

test("T12: a silent node is asked ever less often, and is back with its first pong", async () => {
  const { clock, node, events, pings, watch, begin } = watched();
  node.answers = false;
  watch.suspect("n2", "refused the connection");
  watch.suspect("n2", "refused the connection");
  await clock.advance(20_000);
  const gaps = pings.slice(1).map((atMs, index) => atMs - (pings[index] ?? 0));
  assert.ok(gaps.length > 5 && gaps.every((gap) => gap <= 2_000), String(gaps));
  assert.ok((gaps[0] ?? 0) < (gaps.at(-1) ?? 0));
  assert.equal(events.filter((event) => event === "n2 lost").length, 1);
  const waits = begin(false);
  node.answers = true;
  await clock.advance(2_500);
  assert.equal(watch.isSilent("n2"), false);
  assert.equal(events.at(-1), "n2 heard");
  assert.equal(waits.abortedAtMs, undefined, "what waited may still be answered");
  waits.end();
  await clock.advance(60);
  assert.equal(clock.pending, 0);
});

test("T12: an answer of any request is a sign of life; a node that left the table is forgotten", async () => {
  const { clock, node, events, pings, watch, begin } = watched();
  const slow = begin(true);
  for (let i = 0; i < 40; i++) {
    await clock.advance(50);
    const quick = begin(true);
    quick.heard();
    quick.end();
  }
  assert.equal(pings.length, 0);
  slow.end();
  node.answers = false;
  watch.suspect("n2", "is gone");
  watch.retain(new Set());
  assert.equal(events.at(-1), "n2 forgotten");
  await clock.advance(10_000);
  assert.equal(clock.pending, 0);
});

test("T12: where pongs take long a pong may take longer: an overloaded cell is not taken apart", async () => {
  const { clock, node, events, begin } = watched();
  const slow = begin(true);
  for (const roundTripMs of [100, 150, 190, 250, 300]) {
    node.roundTripMs = roundTripMs;
    await clock.advance(5_000);
  }
  assert.deepEqual(events, []);
  assert.equal(slow.abortedAtMs, undefined);
  node.answers = false;
  await clock.advance(1_500);
  assert.match(events.join(), /^n2 silent/);
  slow.end();
});
