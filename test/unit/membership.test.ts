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
  hubWordOn,
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

const nodesOf = (reached: number, lost: NodeVerdict[]) =>
  new Map<string, NodeVerdict>([
    ...Array.from({ length: reached }, (_, i) => [`up${i}`, alive] as const),
    ...lost.map((verdict, i) => [`lost${i}`, verdict] as const),
  ]);
const heardAgo = (reached: number, ageMs: number) =>
  new Map(Array.from({ length: reached }, (_, i) => [`up${i}`, ageMs]));
const told = (decision: ReturnType<typeof mayEvict>) =>
  "againMs" in decision ? "not yet" : decision.allowed;

test("M5: rule E of a sole server over sizes of the cell, the hub's word and eager", () => {
  const ask = (
    [reached, lost]: [number, number],
    more: { hub?: "hears" | "misses"; evict?: "careful" | "eager"; heardAgoMs?: number } = {},
  ) => {
    const first: NodeVerdict = more.hub ? { ...silent, hub: more.hub } : silent;
    const others = Array.from({ length: lost - 1 }, () => silent);
    return told(
      mayEvict(
        "lost0",
        {
          verdicts: nodesOf(reached, [first, ...others]),
          heardAgoMs: heardAgo(reached, more.heardAgoMs ?? 100),
          ledger: { state: "sole" },
          quorumForMs: 0,
          nowMs: at(100_000),
        },
        { ...evictionDefaults, evict: more.evict ?? "careful" },
      ),
    );
  };

  assert.equal(ask([1, 1]), true, "two of three");
  assert.equal(ask([0, 2]), false, "one of three");
  assert.equal(ask([1, 2]), false, "two of four is no majority");
  assert.equal(ask([2, 2]), true, "three of five");
  assert.equal(ask([0, 1]), false, "a cell of two");
  assert.equal(ask([0, 1], { evict: "eager" }), true);
  assert.equal(ask([0, 2], { evict: "eager" }), false, "eager is for two only");
  assert.equal(ask([0, 1], { hub: "misses" }), true, "the hub vouches");
  assert.equal(ask([0, 1], { hub: "hears" }), false, "it is alive, and so are its pods");
  assert.equal(ask([1, 1], { heardAgoMs: 1300 }), "not yet", "the other may be silent too");
  assert.equal(ask([1, 1], { hub: "misses", heardAgoMs: 1300 }), true, "the hub vouches");
  assert.equal(ask([1, 2], { heardAgoMs: 1300 }), false, "no majority whatever becomes of it");
  const view = {
    verdicts: nodesOf(1, []),
    heardAgoMs: new Map<string, number>(),
    ledger: { state: "sole" } as const,
    quorumForMs: 0,
    nowMs: at(0),
  };
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

test("M5: the hub's word counts when it spoke after the silence began, lately, and was there to hear", () => {
  const nowMs = at(100_000);
  const ask = (hub: { contact: number; heard?: number; listened?: number }, silentForMs = 5000) =>
    hubWordOn(
      "n2",
      silentForMs,
      {
        contactMs: at(hub.contact),
        heardByHub: new Map(hub.heard === undefined ? [] : [["n2", at(hub.heard)]]),
        listeningMs: at(hub.contact - (hub.listened ?? Infinity)),
      },
      nowMs,
      verdictDefaults,
    );
  assert.equal(ask({ contact: 99_000 }), "misses");
  assert.equal(ask({ contact: 94_000 }), undefined, "it spoke before the silence");
  assert.equal(ask({ contact: 80_000 }, 60_000), undefined, "long ago");
  assert.equal(ask({ contact: 99_000, heard: 98_000 }), "hears");
  assert.equal(ask({ contact: 99_000, heard: 90_000 }), "misses");
  assert.equal(ask({ contact: 99_000, listened: 3000 }), undefined, "it may have been away itself");
  // Heartbeats are a second apart: a word from just after the last beat says nothing yet.
  assert.equal(ask({ contact: 98_600, heard: 97_700 }, 1500), undefined);
  // What the hub heard just after the last beat was the same end, and is no life for ever.
  assert.equal(ask({ contact: 96_000, heard: 95_200 }), undefined);
  assert.equal(ask({ contact: 99_000, heard: 95_200 }), "misses");
});

test("M7: all 54 situations have a rung and words, and the rung is the worst of the four", () => {
  for (const hub of ["connected", "lost", "none"] as const)
    for (const quorum of ["held", "no-server", "lost"] as const)
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
                  : quorum === "no-server"
                    ? "server-lost"
                    : hub === "lost"
                      ? "hub-lost"
                      : "whole";
          assert.equal(rungOf(ladder), expected);
          const story = tellLadder(ladder);
          assert.ok(story.title && story.goesOn && story.stopped && story.toDo);
          const wrong = [
            resources === "starved",
            peers !== "all",
            quorum !== "held",
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
      links: () => new Map(),
      ledger: () => ({ state: "sole" }),
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
