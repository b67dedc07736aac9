/** What the agent measures of its ledger, and what it makes of that in words and promises. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { ledgerReport, watchLedger } from "../../src/agent/ledger-watch.ts";
import { promisesOf } from "../../src/agent/promises.ts";
import { quorumAtServer, quorumElsewhere } from "../../src/agent/situation.ts";
import { wordsOf, type WordsView } from "../../src/agent/status-words.ts";
import type { LedgerReport, NodeVerdict, ReachRecord } from "../../src/api/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import type { EtcdCluster, Revision } from "../../src/ledger/index.ts";
import { tellLadder } from "../../src/membership/index.ts";
import { nodeReport } from "../support/status.ts";

type EtcdMemberStatus = Awaited<ReturnType<EtcdCluster["status"]>>[number];
type State = "leader" | "follower" | "learner" | "unreachable";

const statusOf = (name: string, state: State): EtcdMemberStatus =>
  state === "unreachable"
    ? { state, name, error: new Error("no answer") }
    : {
        state: "answers",
        name,
        id: name,
        clusterId: "c",
        version: "3.5.0",
        leaderId: state === "leader" ? name : "another",
        isLearner: state === "learner",
        raftTerm: 1,
        raftIndex: 1,
        raftAppliedIndex: 1,
        etcdRevision: 1,
        dbBytes: 0,
        dbBytesInUse: 0,
        errors: [],
      };

/** A ledger whose members and quorum a test turns as it likes. */
function fakeLedger(
  clock: ReturnType<typeof createSimulatedClock>,
  members: Record<string, State> | undefined,
) {
  const fake = {
    members,
    hasQuorum: true,
    takesMs: 0,
    asked: 0,
    ledger: {
      async get() {
        fake.asked++;
        await clock.sleep(fake.takesMs);
        if (!fake.hasQuorum) throw new Error("no quorum");
        return { keyValue: undefined, revision: 1 as Revision };
      },
    },
    cluster: () =>
      fake.members && {
        async status({ timeoutMs = 0 } = {}) {
          const now = Object.entries(fake.members ?? {});
          if (now.some(([, state]) => state === "unreachable")) await clock.sleep(timeoutMs);
          return now.map(([name, state]) => statusOf(name, state));
        },
      },
  };
  return fake;
}

const watching = (
  fake: ReturnType<typeof fakeLedger>,
  clock: SimulatedClock,
  expected?: string[],
) =>
  watchLedger({
    clock,
    log: silentLog,
    ledger: fake.ledger,
    cluster: fake.cluster,
    ...(expected && { expected }),
  });

test("a sole server's ledger is not asked; it is its own quorum", async () => {
  const clock = createSimulatedClock();
  const fake = fakeLedger(clock, undefined);
  const watch = watching(fake, clock);
  await clock.advance(10_000);
  assert.deepEqual(watch.situation(), { state: "sole" });
  assert.equal(fake.asked, 0);
  assert.equal(quorumAtServer(watch.situation()), "held");
  assert.equal(ledgerReport(watch.situation(), ["n1"], clock.monotonicMs()), undefined);
  // A second server joins: from its vote on the quorum is measured.
  fake.members = { n1: "leader", n2: "learner" };
  await clock.advance(2000);
  assert.deepEqual(watch.situation(), { state: "sole" }, "a learner has no vote");
  fake.members = { n1: "leader", n2: "follower" };
  fake.takesMs = 200;
  for (let step = 0; step < 60; step++) {
    await clock.advance(33);
    assert.equal(quorumAtServer(watch.situation()), "held", `${step * 33} ms after its vote`);
  }
  assert.equal(watch.situation().state, "shared");
  watch.stop();
});

test("M12: a quorum is proved by the moment the question was sent, and lost when none was answered for 3 s", async () => {
  const clock = createSimulatedClock();
  const fake = fakeLedger(clock, { n1: "leader", n2: "follower", w: "follower" });
  fake.takesMs = 200;
  const watch = watching(fake, clock);
  await clock.advance(5000);
  const situation = watch.situation();
  assert.ok(situation.state === "shared" && situation.provedMs !== undefined);
  const ageMs = clock.monotonicMs() - situation.provedMs;
  assert.ok(ageMs >= 200 && ageMs < 750, `rule E wants a proof younger than 750 ms: ${ageMs}`);

  fake.hasQuorum = false;
  fake.members = { n1: "leader", n2: "unreachable", w: "unreachable" };
  await clock.advance(2000);
  assert.equal(quorumAtServer(watch.situation()), "held", "one question lost is no quorum lost");
  await clock.advance(2500);
  assert.equal(quorumAtServer(watch.situation()), "lost");
  const report = ledgerReport(watch.situation(), ["n1", "n2"], clock.monotonicMs());
  assert.deepEqual(
    report?.members.map(({ name, role, state }) => `${name} ${role} ${state}`),
    ["n1 server leader", "n2 server silent", "w witness silent"],
  );
  assert.ok(
    (report?.members[1]?.answeredAgoMs ?? 0) >= 3000,
    "since when it is silent stays known",
  );
  watch.stop();
});

test("M13: one silent member does not make what the others answer older than a verdict takes", async () => {
  const clock = createSimulatedClock();
  const fake = fakeLedger(clock, { n1: "leader", n2: "follower", n3: "unreachable" });
  const watch = watching(fake, clock);
  await clock.advance(3000);
  for (let step = 0; step < 100; step++) {
    await clock.advance(33);
    const situation = watch.situation();
    const n2 = situation.state === "shared" && situation.members.find(({ name }) => name === "n2");
    assert.ok(n2 && n2.answeredMs !== undefined);
    const ageMs = clock.monotonicMs() - n2.answeredMs;
    assert.ok(ageMs < 1400, `${ageMs}`);
  }
  watch.stop();
});

test("after a cold start alone what the disk knows of the others is no quorum", async () => {
  const clock = createSimulatedClock();
  const fake = fakeLedger(clock, undefined);
  fake.hasQuorum = false;
  const watch = watching(fake, clock, ["n1", "n2", "n3"]);
  assert.equal(quorumAtServer(watch.situation()), "lost");
  await clock.advance(5000);
  assert.equal(quorumAtServer(watch.situation()), "lost");
  watch.stop();
});

test("elsewhere: a server that tells holds; servers that are heard and tell nothing have no quorum", () => {
  const at = (contactAgoMs: number | undefined, servers: number, allSilent = false) =>
    quorumElsewhere({ contactAgoMs, servers, allSilent });
  assert.equal(at(1000, 1), "held");
  assert.equal(at(30_000, 1), "no-server", "a server that is the only one can lose no quorum");
  assert.equal(at(30_000, 3), "lost");
  assert.equal(at(1000, 3, true), "no-server");
  assert.equal(at(undefined, 3), "lost");
});

const whole = { hub: "connected", quorum: "held", peers: "all", resources: "enough" } as const;
const alive: NodeVerdict = { state: "alive" };
type Members = Record<string, "leader" | "follower" | "silent" | "learner">;

/** `w` is a witness, everybody else a server. */
const ledgerOf = (members: Members, quorum: "held" | "lost" = "held"): LedgerReport => ({
  quorum,
  members: Object.entries(members).map(([name, state]) => ({
    name,
    role: state === "learner" ? "learner" : name === "w" ? "witness" : "server",
    state: state === "learner" ? "follower" : state,
    answeredAgoMs: state === "silent" ? 9000 : 10,
  })),
});

const promises = (
  names: readonly string[],
  members: Members | undefined,
  more: { quorum?: "held" | "lost"; verdicts?: Readonly<Record<string, NodeVerdict>> } = {},
) => {
  const { kept, suspended } = promisesOf({
    self: names[0] ?? "",
    ladder: { ...whole, quorum: more.quorum ?? "held" },
    nodes: names.map((name) => ({
      name,
      isServer: name.startsWith("s"),
      verdict: more.verdicts?.[name] ?? alive,
      short: [],
    })),
    waitingForHub: 0,
    held: new Map(),
    ledger: members && ledgerOf(members, more.quorum),
  });
  return { kept: kept.join("\n"), suspended: suspended.join("\n") };
};

test("promises by the number of servers: one, two, two and a witness, three, five", () => {
  const one = promises(["s1", "n2", "n3"], undefined);
  assert.match(one.suspended, /s1 is the only server/);

  const two = promises(["s1", "s2", "n3"], { s1: "leader", s2: "follower" });
  assert.match(two.suspended, /One fault from losing quorum: s1, s2 are two and have no witness/);
  assert.match(two.suspended, /A third server, or a witness/);
  assert.match(two.kept, /another node that is lost and is no server are started elsewhere/);
  assert.doesNotMatch(two.kept, /servers included/);

  const witness = promises(["s1", "s2"], { s1: "leader", s2: "follower", w: "follower" });
  assert.match(witness.kept, /Any one of s1, s2, w may be lost/);
  assert.match(witness.kept, /servers included, are started elsewhere within seconds/);
  assert.equal(witness.suspended, "");

  const three = promises(["s1", "s2", "s3"], { s1: "leader", s2: "follower", s3: "follower" });
  assert.match(three.kept, /Any one of s1, s2, s3 may be lost/);
  assert.equal(three.suspended, "");

  const five = promises(["s1", "s2", "s3", "s4", "s5"], {
    s1: "leader",
    s2: "follower",
    s3: "follower",
    s4: "follower",
    s5: "follower",
  });
  assert.match(five.kept, /Any 2 of s1, s2, s3, s4, s5 may be lost/);
});

test("promises: one member missing is one fault from losing quorum; quorum lost and server lost differ", () => {
  const gone: NodeVerdict = { state: "unreachable", forMs: 9000, witnesses: [] };
  const missing = promises(
    ["s1", "s2", "s3"],
    { s1: "leader", s2: "follower", s3: "silent" },
    { verdicts: { s3: gone } },
  );
  assert.match(missing.kept, /Changes by kubectl take effect/);
  assert.match(
    missing.suspended,
    /One fault from losing quorum: 2 of 3 members of the ledger are left, and 2 are needed\. If one of s1, s2 is lost/,
  );
  const lost = promises(
    ["s1", "s2", "s3"],
    { s1: "leader", s2: "silent", s3: "silent" },
    { quorum: "lost", verdicts: { s2: gone, s3: gone } },
  );
  assert.match(
    lost.suspended,
    /refused until the ledger has its quorum again: 2 of s1, s2, s3 have to answer/,
  );
  assert.match(lost.suspended, /No pod is replaced/);
  assert.doesNotMatch(lost.kept, /kubectl/);
  const none = promises(["n1", "s2", "s3"], undefined, { verdicts: { s2: gone, s3: gone } });
  assert.match(none.suspended, /refused at once \(server-lost\) until one of s2, s3 answers/);
  // Servers are there, and none has told how the ledger is: nothing is made up.
  const unknown = promises(["n1", "s2", "s3"], undefined);
  assert.match(unknown.suspended, /may still be lost is not known here/);
});

const noReach: ReachRecord = { seenFrom: "n1", names: ["n1", "n2", "n3"], rows: [], deaf: [] };
const words = (
  verdicts: Readonly<Record<string, NodeVerdict>>,
  more: Partial<WordsView> & { hub?: Readonly<Record<string, "connected" | "lost">> } = {},
) =>
  wordsOf({
    self: "n1",
    nodes: ["n1", "n2", "n3"].map((name) => ({ name, verdict: verdicts[name] ?? alive })),
    reports: new Map(
      Object.entries(more.hub ?? {}).map(([name, state]) => {
        const hub = { state, backlog: { entries: 0, bytes: 0, oldestMs: 0 } };
        return [name, nodeReport(name, { hub })];
      }),
    ),
    deployments: [],
    story: tellLadder(whole),
    ledger: undefined,
    reach: noReach,
    ...more,
  }).join("\n");

test("words: a silent node is dead or cut off, and the hub's word tells which", () => {
  const silent = { state: "unreachable", forMs: 9000, witnesses: ["n3"] } as const;
  assert.match(
    words({ n2: silent }),
    /n2: unreachable for 9s, to every node that could hear it: dead or cut off\./,
  );
  assert.match(
    words({ n2: { ...silent, hub: "hears" } }),
    /cut off from the cell, not dead: the hub hears it/,
  );
  assert.match(
    words({ n2: { ...silent, hub: "misses" } }),
    /dead, or cut off from everybody: the hub misses it too/,
  );
  // Who hears nobody does not call the others cut off.
  const alone = words(
    { n2: { ...silent, hub: "hears" }, n3: { ...silent, hub: "hears" } },
    { story: tellLadder({ ...whole, peers: "alone" }) },
  );
  assert.match(alone, /^This node hears no other node\./);
  assert.match(alone, /n2: not heard here for 9s, but the hub hears it: it is not dead/);
});

test("words: an agent that is down, by its keeper's word or because only its ledger answers", () => {
  assert.match(words({ n2: { state: "agent-down", forMs: 4000 } }), /n2: its agent is down for 4s/);
  assert.match(
    words({ n2: { state: "agent-down", forMs: 4000, knownBy: "ledger" } }),
    /its agent and its keeper are silent for 4s, its ledger member answers: the machine is alive/,
  );
});

test("words: a link is told with the direction that is cut, at both ends and by a third", () => {
  const reach = (back: "heard" | "deaf" | "unknown", from = "n2", to = "n1"): ReachRecord => ({
    ...noReach,
    deaf: [
      { from, to, forMs: 5000, back },
      ...(back === "deaf" ? [{ from: to, to: from, forMs: 5000, back }] : []),
    ],
  });
  const down = { state: "link-down", forMs: 5000, heardBy: ["n3"] } as const;
  assert.match(
    words({ n2: down }, { reach: reach("heard") }),
    /n2: not heard here for 5s, but n3 hears it, and it hears n1: the link is cut in one direction, from n2 to n1\.$/,
  );
  assert.match(
    words({ n2: down }, { reach: reach("deaf") }),
    /n3 hears it: the link is what failed\.$/,
  );
  const other = words({}, { reach: reach("heard", "n1", "n2") });
  assert.match(other, /^Not whole: links between nodes\. Everything else goes on\.\n/);
  assert.match(
    other,
    /n2 does not hear n1 for 5s, while n1 hears n2: the link is cut in one direction, from n1 to n2\.$/,
  );
  assert.match(
    words({}, { reach: reach("deaf", "n2", "n3") }),
    /\nn2 and n3 do not hear each other for 5s: the link between them is what failed\.$/,
  );
  assert.match(
    words({ n2: { ...down, heardBy: ["the ledger"] } }),
    /n2: not heard here for 5s, but its ledger member answers: the link is what failed, or its agent and keeper\./,
  );
});

test("words: the WAN is lost when nobody reaches the hub; when somebody does it is the way from here", () => {
  const story = tellLadder({ ...whole, hub: "lost" });
  const lost = words({}, { story, hub: { n1: "lost", n2: "lost" } });
  assert.match(lost, /The WAN is lost, or the hub is: no node that answers n1 reaches it\./);
  const own = words({}, { story, hub: { n1: "lost", n2: "connected", n3: "connected" } });
  assert.match(
    own,
    /n1 does not reach the hub, n2, n3 do: the WAN is there, the way from n1 is cut\./,
  );
});

test("words: one fault from losing quorum, the witness at the hub cut off, quorum lost", () => {
  const with_ = (members: Members, quorum: "held" | "lost" = "held") =>
    words({}, { ledger: { ...ledgerOf(members, quorum), seenFrom: "n1" } });
  assert.equal(with_({ n1: "leader", n2: "follower", n3: "follower" }), "All is well");
  assert.match(
    with_({ n1: "leader", n2: "follower", n3: "silent" }),
    /^Not whole: the ledger\..*\nOne fault from losing quorum: 2 of 3 members answer, not n3 \(silent for 9s\)\.$/,
  );
  assert.match(
    with_({ n1: "leader", n2: "follower", w: "silent" }),
    /not the witness w \(silent for 9s\)/,
  );
  assert.match(
    with_({ n1: "leader", n2: "follower", n3: "follower", n4: "follower", n5: "silent" }),
    /The ledger misses a member: 4 of 5 members answer/,
  );
  assert.match(
    with_({ n1: "leader", n2: "silent", n3: "silent" }, "lost"),
    /^The cell's servers have lost their quorum\.\n.*\nQuorum lost: 1 of 3 members of the ledger answer, not n2 \(silent for 9s\), n3/,
  );
  assert.match(
    with_({ n1: "leader", n2: "follower", n3: "follower", n4: "learner" }),
    /n4 catches up/,
  );
});
