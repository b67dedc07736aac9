import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  hubName,
  ledgerEar,
  type Beat,
  type Ladder,
  type NodeVerdict,
} from "../../src/api/index.ts";
import type { MonotonicMs } from "../../src/lib/brand.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createSignals } from "../../src/lib/signals.ts";
import {
  climb,
  createEvidence,
  createMembership,
  dueInMs,
  evictionDefaults,
  hubWordOn,
  judge,
  ladderDefaults,
  ladderOf,
  mayEvict,
  reachOf,
  rungOf,
  tellLadder,
  verdictDefaults,
  withRows,
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

/** What a server of two or more sees: who is heard, who vouches, what the quorum does. */
type Row = {
  readonly what: string;
  /** Server or worker by name: `s…` serves the ledger; `w` is a witness. */
  readonly others: Readonly<Record<string, NodeVerdict>>;
  readonly witness?: boolean;
  readonly heardAgoMs?: Readonly<Record<string, number>>;
  readonly quorum?: "held" | "lost";
  readonly provedAgoMs?: number;
  readonly quorumForMs?: number;
  readonly answer: boolean | "not yet";
  readonly because: RegExp;
};
const missedBy = (...witnesses: string[]): NodeVerdict => ({ ...silent, witnesses });
const deaf: NodeVerdict = { state: "link-down", forMs: 5000, heardBy: [ledgerEar] };
const agentDown: NodeVerdict = { state: "agent-down", forMs: 5000 };

const rows: readonly Row[] = [
  {
    what: "three servers, one dead",
    others: { s2: alive, s3: missedBy("s2") },
    answer: true,
    because: /2 of 3 servers miss it, and the ledger's quorum is held/,
  },
  {
    what: "three servers, one dead, and a peer that was not heard just now",
    others: { s2: alive, s3: missedBy("s2") },
    heardAgoMs: { s2: 1200 },
    answer: "not yet",
    because: /waits for a sign of s2/,
  },
  {
    what: "three servers and a worker that is silent to this server alone",
    others: { s2: deaf, s3: deaf, n4: missedBy() },
    answer: false,
    because: /does not hear s2, s3, which may hear n4: it may be this server that is deaf/,
  },
  {
    what: "three servers, two machines dead, the quorum lost",
    others: { s2: missedBy(), s3: missedBy() },
    quorum: "lost",
    answer: false,
    because: /quorum is lost/,
  },
  {
    what: "three servers, all silent, the quorum not asked since: this server may be cut off",
    others: { s2: missedBy(), s3: missedBy(), n4: missedBy() },
    provedAgoMs: 1400,
    answer: "not yet",
    because: /waits for a sign of the ledger's quorum/,
  },
  {
    what: "three servers, a dead worker, and a server whose keeper says that its agent is down",
    others: { s2: agentDown, s3: missedBy(), n4: missedBy() },
    heardAgoMs: { s2: 100 },
    answer: true,
    because: /no other server is there to ask/,
  },
  {
    what: "two servers and a witness, the other server dead",
    others: { s2: missedBy() },
    witness: true,
    answer: true,
    because: /no other server is there to ask, and the ledger's quorum is held/,
  },
  {
    what: "two servers and a witness, the quorum only just back",
    others: { s2: missedBy() },
    witness: true,
    quorumForMs: 300,
    answer: "not yet",
    because: /waits for a sign of the ledger's quorum/,
  },
  {
    what: "two servers and a witness, a worker silent to this server, the other server deaf to it",
    others: { s2: deaf, n3: missedBy() },
    witness: true,
    answer: false,
    because: /may be this server that is deaf/,
  },
  {
    what: "the same, and the hub misses the worker too",
    others: { s2: deaf, n3: { ...silent, hub: "misses" } },
    witness: true,
    answer: true,
    because: /the hub reaches this server and does not reach n3/,
  },
  {
    what: "two servers without a witness, the other dead",
    others: { s2: missedBy() },
    quorum: "lost",
    answer: false,
    because: /quorum is lost/,
  },
  {
    what: "five servers, more than half asked",
    others: { s2: alive, s3: alive, s4: deaf, s5: missedBy("s2", "s3") },
    answer: true,
    because: /3 of 5 servers miss it/,
  },
  {
    what: "five servers, fewer than half asked",
    others: { s2: alive, s3: deaf, s4: deaf, s5: missedBy("s2") },
    answer: false,
    because: /does not hear s3, s4, which may hear s5/,
  },
  {
    what: "a minority of the cell, with the quorum: three servers, and four workers lost",
    others: {
      s2: alive,
      s3: alive,
      n4: missedBy("s2", "s3"),
      n5: missedBy("s2", "s3"),
      n6: missedBy("s2", "s3"),
      n7: missedBy("s2", "s3"),
    },
    answer: true,
    because: /3 of 3 servers miss it/,
  },
];

for (const row of rows)
  test(`M12: ${row.what}: ${row.answer === "not yet" ? "not yet decided" : row.answer ? "evicts" : "evicts nobody"}`, () => {
    const nowMs = at(100_000);
    const names = Object.keys(row.others);
    const servers = ["s1", ...names.filter((name) => name.startsWith("s"))];
    const member = (name: string) => ({ name, votes: true, leads: false, answeredMs: nowMs });
    const heard = names.filter((name) => row.others[name]?.state === "alive");
    const lost = names.findLast((name) => row.others[name]?.state === "unreachable") ?? "";
    const decision = mayEvict(
      lost,
      {
        verdicts: new Map(Object.entries(row.others)),
        heardAgoMs: new Map([
          ...heard.map((name) => [name, 100] as const),
          ...Object.entries(row.heardAgoMs ?? {}),
        ]),
        ledger: {
          state: "shared",
          quorum: row.quorum ?? "held",
          provedMs: at(nowMs - (row.provedAgoMs ?? 100)),
          members: [...servers, ...(row.witness ? ["w"] : [])].map(member),
        },
        quorumForMs: row.quorumForMs ?? 60_000,
        nowMs,
      },
      evictionDefaults,
    );
    assert.equal(told(decision), row.answer, decision.because);
    assert.match(decision.because, row.because);
  });

test("M13: of every path that brings a sign of life the verdict takes the word", () => {
  const nowMs = at(20_000);
  const judgeWith = (
    tell: (book: ReturnType<typeof createEvidence>) => void,
  ): NodeVerdict | undefined => {
    const book = createEvidence("n1");
    book.expect(["n1", "n2", "n3"], at(0));
    book.take(beat({ node: "n2" }), at(1000));
    tell(book);
    return judge(book.evidence, nowMs, verdictDefaults).get("n2");
  };
  const listener = (book: ReturnType<typeof createEvidence>) =>
    book.take(beat({ node: "n3", heard: { n1: 10 } }), at(19_900));

  assert.equal(judgeWith(() => {})?.state, "unreachable");
  // Frames over the link come from a living agent.
  const link = (atMs: number) => (book: ReturnType<typeof createEvidence>) =>
    book.note("link", new Map([["n2", at(atMs)]]), nowMs);
  assert.equal(judgeWith(link(19_000))?.state, "alive");
  assert.equal(judgeWith(link(18_000))?.state, "unreachable");
  assert.equal(judgeWith(link(20_001))?.state, "unreachable", "from the future is from nowhere");
  // A later beat that says "agent down" is newer than the last frame.
  const down = judgeWith((book) => {
    link(19_000)(book);
    book.take(beat({ node: "n2", sequence: 2, agent: "down" }), at(19_500));
  });
  assert.equal(down?.state, "agent-down");
  // The ledger's member answers: the machine is there. Another ear tells whose fault the silence is.
  const ledger = (book: ReturnType<typeof createEvidence>) =>
    book.note("ledger", new Map([["n2", at(19_500)]]), nowMs);
  assert.deepEqual(judgeWith(ledger), { state: "link-down", forMs: 19_000, heardBy: [ledgerEar] });
  assert.deepEqual(
    judgeWith((book) => {
      ledger(book);
      listener(book);
    }),
    { state: "agent-down", forMs: 19_000, knownBy: "ledger" },
  );
  // Of the hub it is said what it says; the verdict stays, for nobody in the cell reaches the node.
  const hub = (heard: Record<string, number>) => (book: ReturnType<typeof createEvidence>) =>
    book.hubContact(heard, Infinity, at(19_900));
  const word = (heard: Record<string, number>) => {
    const verdict = judgeWith(hub(heard));
    return verdict?.state === "unreachable" ? verdict.hub : verdict?.state;
  };
  assert.equal(word({ n2: 500 }), "hears");
  assert.equal(word({ n2: 60_000 }), "misses");
  assert.equal(word({}), "misses");
});

test("M13: a node that dies is not called deaf first because its ledger answered a moment longer", () => {
  const book = createEvidence("n1");
  book.expect(["n1", "n2"], at(0));
  book.take(beat({ node: "n2" }), at(1000));
  book.note("ledger", new Map([["n2", at(1240)]]), at(1240));
  const state = (ms: number) => judge(book.evidence, at(ms), verdictDefaults).get("n2")?.state;
  assert.deepEqual(
    [state(2400), state(2600), state(2739), state(2740)],
    ["alive", "alive", "alive", "unreachable"],
  );
  assert.equal(dueInMs(book.evidence, at(2600), 250, verdictDefaults), 140);
});

test("M14: the matrix holds every path with its age, and names the directions that are deaf", () => {
  const book = createEvidence("n1");
  book.expect(["n1", "n2", "n3", "n4"], at(0));
  // n3 hears n1, n1 does not hear n3; n2 hears both; n4 was never heard by anybody.
  book.take(beat({ node: "n2", heard: { n1: 100, n3: 200 } }), at(9900));
  book.take(beat({ node: "n3", heard: { n1: 50, n2: 60 } }), at(4000));
  book.note("link", new Map([["n2", at(9500)]]), at(10_000));
  book.note(
    "ledger",
    new Map([
      ["n2", at(9700)],
      ["w", at(9800)],
    ]),
    at(10_000),
  );
  book.hubContact({ n3: 700 }, Infinity, at(9600));
  const record = reachOf(book.evidence, at(10_000), verdictDefaults);
  assert.deepEqual(record.names, ["n1", "n2", "n3", "n4", hubName, "w"]);
  const row = (to: string) =>
    record.rows
      .find((one) => one.to === to)
      ?.heard.map(({ from, path, by, agoMs }) => `${from} ${path} ${by ?? ""}${agoMs}`);
  assert.deepEqual(row("n1"), [
    "n2 beat 100",
    "n2 link 500",
    "n2 relayed n36060",
    "n2 ledger 300",
    "n3 beat 6000",
    "n3 relayed n2300",
    `${hubName} hub 400`,
    "w ledger 200",
  ]);
  assert.deepEqual(row("n2"), ["n1 beat 200", "n3 beat 300"]);
  assert.deepEqual(row(hubName), ["n3 hub 1100", "n1 hub 400"]);
  // What n3 told six seconds ago says nothing of now.
  assert.deepEqual(record.deaf, [{ from: "n3", to: "n1", forMs: 6000, back: "unknown" }]);
  // Asked over another way, it tells: the link is cut in one direction only.
  const asked = withRows(record, [
    { to: "n3", knownBy: "self", toldAgoMs: 0, heard: [{ from: "n1", path: "beat", agoMs: 90 }] },
    { to: "stranger", knownBy: "self", toldAgoMs: 0, heard: [] },
  ]);
  assert.deepEqual(
    asked.deaf.find(({ to }) => to === "n1"),
    { from: "n3", to: "n1", forMs: 6000, back: "heard" },
  );
  assert.ok(!asked.rows.some(({ to }) => to === "stranger"));
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

test("M7: a start that has asked nobody yet tells of no lost quorum; one that is missed is told after a second", () => {
  const bad: Ladder = { hub: "lost", quorum: "lost", peers: "all", resources: "enough" };
  const first = climb(undefined, bad, at(0), ladderDefaults);
  assert.deepEqual(ladderOf(first), { ...bad, quorum: "held" }, "the others are believed at once");
  const answered = climb(first, { ...bad, quorum: "held" }, at(250), ladderDefaults);
  assert.equal(ladderOf(answered).quorum, "held");
  for (const quorum of ["lost", "no-server"] as const) {
    let state = climb(undefined, { ...bad, quorum }, at(0), ladderDefaults);
    for (let ms = 250; ms < 1000; ms += 250) {
      state = climb(state, { ...bad, quorum }, at(ms), ladderDefaults);
      assert.equal(ladderOf(state).quorum, "held");
    }
    state = climb(state, { ...bad, quorum }, at(1000), ladderDefaults);
    assert.equal(ladderOf(state).quorum, quorum);
  }
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
