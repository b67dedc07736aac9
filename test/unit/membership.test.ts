import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { Beat, Ladder, NodeVerdict } from "../../src/api/index.ts";
import type { MonotonicMs } from "../../src/lib/brand.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createSignals } from "../../src/lib/signals.ts";
import {
  climb,
  createEvidence,
  createMembership,
  evictionDefaults,
  judge,
  ladderDefaults,
  ladderOf,
  mayEvict,
  rungOf,
  tellLadder,
  verdictDefaults,
  type MembershipEvents,
} from "../../src/membership/index.ts";

const at = (ms: number) => ms as MonotonicMs;
const beat = (fields: Partial<Beat> = {}): Beat => ({
  node: "n2",
  bootId: "b",
  keeperStartedMs: 1000,
  sequence: 1,
  agent: "up",
  heard: {},
  ...fields,
});
const alive: NodeVerdict = { state: "alive" };
const silent: NodeVerdict = { state: "unreachable", forMs: 5000, witnesses: [] };

test("M9: strangers, replays and retired keepers change nothing; a new keeper in 1970 is believed", () => {
  const book = createEvidence("n1");
  book.expect(["n1", "n2", "n3"], at(0));
  assert.equal(book.take(beat({ node: "evil" }), at(1)), "not-a-known-node");
  assert.equal(book.take(beat({ node: "n1" }), at(1)), "own");
  assert.equal(book.take(beat({ sequence: 5 }), at(10)), "taken");
  assert.equal(book.take(beat({ sequence: 5 }), at(500)), "replayed");
  assert.equal(book.take(beat({ sequence: 4 }), at(500)), "replayed");
  assert.equal(book.evidence.nodes.get("n2")?.own?.heardMs, 10);
  assert.equal(
    book.take(beat({ bootId: "next", keeperStartedMs: 3, sequence: 1 }), at(600)),
    "taken",
  );
  assert.equal(book.take(beat({ sequence: 99 }), at(700)), "replayed");
  assert.equal(book.evidence.nodes.get("n2")?.own?.heardMs, 600);
});

test("M9: reports about strangers are dropped and forgotten nodes leave nothing behind", () => {
  const book = createEvidence("n1");
  book.expect(["n1", "n2", "n3"], at(0));
  book.take(beat({ heard: { n3: 10, n1: 20, ghost: 1, n2: 0 } }), at(100));
  assert.deepEqual([...book.evidence.nodes.keys()], ["n2", "n3"]);
  assert.equal(book.evidence.nodes.get("n3")?.heardByPeer.get("n2"), 90);
  assert.equal(book.evidence.selfHeardByPeer.get("n2"), 80);
  book.expect(["n1", "n3"], at(200));
  assert.equal(book.evidence.nodes.get("n3")?.heardByPeer.size, 0);
  assert.equal(book.evidence.selfHeardByPeer.size, 0);
});

test("M9: a late datagram never moves a peer's mark back", () => {
  const book = createEvidence("n1");
  book.expect(["n1", "n2", "n3"], at(0));
  book.take(beat({ sequence: 1, heard: { n3: 10 } }), at(1000));
  book.take(beat({ sequence: 2, heard: { n3: 900 } }), at(1100));
  assert.equal(book.evidence.nodes.get("n3")?.heardByPeer.get("n2"), 990);
});

test("a node never heard of is unknown first and unreachable after ten seconds", () => {
  const book = createEvidence("n1");
  book.expect(["n1", "n2"], at(0));
  assert.equal(judge(book.evidence, at(9999), verdictDefaults).get("n2")?.state, "unknown");
  assert.equal(judge(book.evidence, at(10_000), verdictDefaults).get("n2")?.state, "unreachable");
});

test("a node that a peer has missed for long is found by a fresh observer without waiting ten seconds", () => {
  const book = createEvidence("n1");
  book.expect(["n1", "n2", "n3"], at(0));
  book.take(beat({ heard: { n3: 50_000, n1: 5 } }), at(1400));
  const verdict = judge(book.evidence, at(1600), verdictDefaults).get("n3");
  assert.deepEqual(verdict, { state: "unreachable", forMs: 1600, witnesses: ["n2"] });
});

test("M5: rule E over sizes of the cell, the hub's word and eager", () => {
  const verdicts = (reached: number, lost: number) =>
    new Map<string, NodeVerdict>([
      ...Array.from({ length: reached }, (_, i) => [`up${i}`, alive] as const),
      ...Array.from({ length: lost }, (_, i) => [`lost${i}`, silent] as const),
    ]);
  const ask = (
    [reached, lost]: [number, number],
    hub?: { contactMs: number; heard?: Record<string, number> },
    evict: "careful" | "eager" = "careful",
    heardAgoMs = 100,
  ) => {
    const decision = mayEvict(
      "lost0",
      {
        verdicts: verdicts(reached, lost),
        heardAgoMs: new Map(Array.from({ length: reached }, (_, i) => [`up${i}`, heardAgoMs])),
        hub: hub && {
          contactMs: at(hub.contactMs),
          heardByHub: new Map(Object.entries(hub.heard ?? {}).map(([n, ms]) => [n, at(ms)])),
        },
        nowMs: at(100_000),
      },
      { ...evictionDefaults, evict },
    );
    return "againMs" in decision ? "not yet" : decision.allowed;
  };

  assert.equal(ask([1, 1]), true, "two of three");
  assert.equal(ask([0, 2]), false, "one of three");
  assert.equal(ask([1, 2]), false, "two of four is no majority");
  assert.equal(ask([2, 2]), true, "three of five");
  assert.equal(ask([0, 1]), false, "a cell of two");
  assert.equal(ask([0, 1], undefined, "eager"), true);
  assert.equal(ask([0, 2], undefined, "eager"), false, "eager is for two only");
  assert.equal(ask([0, 1], { contactMs: 99_000 }), true, "the hub vouches");
  assert.equal(ask([0, 1], { contactMs: 94_000 }), false, "the hub spoke before the silence");
  assert.equal(ask([0, 1], { contactMs: 99_000, heard: { lost0: 98_000 } }), false);
  assert.equal(ask([0, 1], { contactMs: 99_000, heard: { lost0: 90_000 } }), true);
  assert.equal(ask([1, 1], undefined, "careful", 1300), "not yet", "the other may be silent too");
  assert.equal(ask([1, 1], { contactMs: 99_000 }, "careful", 1300), true, "the hub vouches");
  assert.equal(
    ask([1, 2], undefined, "careful", 1300),
    false,
    "no majority whatever becomes of it",
  );
  const view = { verdicts: verdicts(1, 0), heardAgoMs: new Map(), hub: undefined, nowMs: at(0) };
  assert.equal(mayEvict("up0", view, evictionDefaults).allowed, false);
  // Through a peer that hears it, as long as that peer is heard.
  const relayed = (heardAgoMs: number) =>
    mayEvict(
      "lost0",
      {
        ...view,
        verdicts: new Map<string, NodeVerdict>([
          ["lost0", silent],
          ["lost1", silent],
          ["peer", alive],
          ["deaf", { state: "link-down", forMs: 9000, heardBy: ["peer"] }],
        ]),
        heardAgoMs: new Map([["peer", heardAgoMs]]),
      },
      evictionDefaults,
    ).allowed;
  assert.equal(relayed(100), true);
  assert.equal(relayed(1300), false);
});

test("M7: all 36 situations have a rung and words, and the rung is the worst of the four", () => {
  for (const hub of ["connected", "lost", "none"] as const)
    for (const quorum of ["held", "lost"] as const)
      for (const peers of ["all", "some", "alone"] as const)
        for (const resources of ["enough", "starved"] as const) {
          const ladder: Ladder = { hub, quorum, peers, resources };
          const expected =
            resources === "starved"
              ? "starved"
              : peers === "alone"
                ? "alone"
                : quorum === "lost"
                  ? "quorum-lost"
                  : hub === "lost"
                    ? "hub-lost"
                    : "whole";
          assert.equal(rungOf(ladder), expected);
          const story = tellLadder(ladder);
          assert.ok(story.title && story.goesOn && story.stopped && story.toDo);
          const wrong = [
            resources === "starved",
            peers !== "all",
            quorum === "lost",
            hub === "lost",
          ].filter(Boolean);
          assert.equal(story.lines.length, wrong.length);
        }
});

test("M7: a link that comes and goes does not swing the ladder", () => {
  const good: Ladder = { hub: "connected", quorum: "held", peers: "all", resources: "enough" };
  let state = climb(undefined, good, at(0), ladderDefaults);
  const seen = new Set<string>();
  for (let ms = 250; ms < 60_000; ms += 250) {
    const hub = Math.floor(ms / 500) % 2 ? "lost" : "connected";
    state = climb(state, { ...good, hub }, at(ms), ladderDefaults);
    seen.add(ladderOf(state).hub);
  }
  assert.deepEqual([...seen], ["connected"]);
});

test("a port that throws is logged and the next tick goes on; a change is told once", async () => {
  const clock = createSimulatedClock();
  const signals = createSignals<MembershipEvents>({ onListenerError: () => {} });
  const states: string[] = [];
  signals.on("verdict", ({ verdict }) => states.push(verdict.state));
  const gone: string[] = [];
  signals.on("gone", ({ node }) => gone.push(node));
  let names: string[] | undefined = ["n1", "n2"];
  let errors = 0;
  const membership = createMembership({
    self: "n1",
    clock,
    log: { ...silentLog, error: () => void errors++ },
    signals,
    ports: {
      nodes() {
        if (!names) throw new Error("the mirror is closed");
        return names;
      },
      setHeard: () => {},
      situation: () => ({ hub: "none", quorum: "held", resources: "enough" }),
    },
  });
  membership.onBeat(beat());
  await clock.advance(250);
  names = undefined;
  await clock.advance(1000);
  assert.equal(errors, 4);
  names = ["n1", "n2"];
  await clock.advance(3000);
  assert.deepEqual(states, ["unknown", "alive", "unreachable"]);
  names = ["n1"];
  await clock.advance(250);
  assert.deepEqual(gone, ["n2"]);
  assert.deepEqual([...membership.verdicts().keys()], ["n1"]);
  await clock.advance(3000);
  assert.equal(membership.ladder().peers, "all");
  membership.stop();
  assert.equal(clock.pending, 0);
});
