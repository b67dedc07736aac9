/** Membership of the cell's servers: quorum in words, the plan of each change, and what is refused. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  planChange,
  quorumOf,
  survivalNow,
  survivalOf,
  type Change,
  type MembershipView,
  type MemberView,
  type ServerReport,
  type Step,
} from "../../src/ledger/servers/index.ts";

const peerUrl = (node: string) => `https://10.0.0.${node.slice(1)}:7447`;
const idOf = (node: string) => `${node.slice(1)}000`;

const member = (node: string, more: Partial<MemberView> = {}): MemberView => ({
  id: idOf(node),
  name: node,
  peerUrls: [peerUrl(node)],
  isLearner: false,
  answers: true,
  isLeader: node === "n1",
  ...more,
});
const here = (node: string, more: Partial<ServerReport> = {}) => ({
  state: "here" as const,
  report: {
    node,
    role: "server" as const,
    etcdVersion: "3.4.23",
    peerUrl: peerUrl(node),
    memberId: idOf(node),
    ...more,
  },
});
const worker = (node: string, more: Partial<ServerReport> = {}) =>
  here(node, { role: "worker", memberId: undefined, ...more });
const silent = { state: "silent" as const, why: "no link to it stands" };

function view(
  members: readonly MemberView[],
  nodes: Readonly<Record<string, ReturnType<typeof here> | typeof silent>>,
  engine: MembershipView["engine"] = "etcd",
): MembershipView {
  return { self: "n1", engine, members, nodes: new Map(Object.entries(nodes)) };
}
const refusalOf = (change: Change, seen: MembershipView): string => {
  const plan = planChange(change, seen);
  assert.equal(plan.state, "refused", JSON.stringify(plan));
  return plan.state === "refused" ? plan.message : "";
};

test("quorum in words: what each number of servers survives", () => {
  assert.deepEqual([1, 2, 3, 4, 5].map(quorumOf), [1, 2, 2, 3, 3]);
  assert.match(survivalOf(1), /^one server: while it is down, nothing can be changed/);
  assert.equal(survivalOf(2), "two servers survive no loss; add a third or a witness");
  assert.equal(survivalOf(3), "three servers survive the loss of any one");
  assert.equal(survivalOf(3, 1), "two servers and a witness survive the loss of any one");
  assert.equal(survivalOf(5, 1), "four servers and a witness survive the loss of any two");
  assert.equal(survivalOf(4), "four servers survive the loss of any one, as three do");
  assert.equal(survivalOf(5), "five servers survive the loss of any two");
  assert.equal(survivalNow(3, []), survivalOf(3));
  assert.equal(
    survivalNow(3, ["n2"]),
    "n2 does not answer: the loss of one more of three servers stops changes",
  );
  assert.equal(survivalNow(5, ["n2"]), "n2 does not answer: of five servers one more may be lost");
  assert.match(survivalNow(3, ["w1"], 1), /the loss of one more of three voters/);
  assert.match(
    survivalNow(3, ["n2", "n3"]),
    /^n2 and n3 do not answer: of three servers one is left, and two are needed; .*skerry recover$/,
  );
  assert.match(survivalNow(2, ["n1", "n2"]), /of two servers none is left/);
});

/** Carries steps out on a view, as a cell that works would. */
function after(step: Step, { members, nodes, ...rest }: MembershipView): MembershipView {
  const replaced = (id: string, more: Partial<MemberView>) =>
    members.map((one) => (one.id === id ? { ...one, ...more } : one));
  const known = (node: string, more: Partial<ServerReport>) => {
    const now = nodes.get(node);
    return now?.state === "here"
      ? new Map([...nodes, [node, { state: "here" as const, report: { ...now.report, ...more } }]])
      : nodes;
  };
  switch (step.step) {
    case "convert":
      return { ...rest, engine: "etcd", members: [member("n1")], nodes };
    case "add-learner": {
      const added = member(step.node, {
        id: `${idOf(step.node)}${members.length}`,
        name: "",
        isLearner: true,
        answers: false,
        isLeader: false,
      });
      return { ...rest, nodes, members: [...members, added] };
    }
    case "start":
      return {
        ...rest,
        members: replaced(step.memberId, { name: step.node, answers: true }),
        nodes: known(step.node, { memberId: step.memberId }),
      };
    case "promote":
      return { ...rest, nodes, members: replaced(step.memberId, { isLearner: false }) };
    case "make-server":
      return { ...rest, members, nodes: known(step.node, { role: "server" }) };
    case "move-leader":
      return {
        ...rest,
        nodes,
        members: members.map((one) => ({ ...one, isLeader: one.id === step.memberId })),
      };
    case "remove-member":
      return { ...rest, nodes, members: members.filter(({ id }) => id !== step.memberId) };
    case "make-worker":
      return { ...rest, members, nodes: known(step.node, { role: "worker", memberId: undefined }) };
  }
}

function carriedOut(change: Change, seen: MembershipView) {
  const steps: string[] = [];
  for (let left = 20; left > 0; left--) {
    const plan = planChange(change, seen);
    if (plan.state !== "next") return { steps, plan, seen };
    steps.push(plan.step.step);
    seen = after(plan.step, seen);
  }
  throw new Error(`no end: ${steps.join(" ")}`);
}

test("add to a cell with one server: convert, learner, start, promote, server; again it is done", () => {
  const seen = view([], { n1: here("n1"), n2: worker("n2") }, "sqlite");
  const { steps, plan } = carriedOut({ verb: "add", node: "n2" }, seen);
  assert.deepEqual(steps, ["convert", "add-learner", "start", "promote", "make-server"]);
  assert.deepEqual(plan, {
    state: "done",
    message: "n2 is a server; two servers survive no loss; add a third or a witness",
  });
});

test("replace: a dead one goes first, a living one last, a wiped machine comes back under its name", () => {
  const change: Change = { verb: "replace", node: "n3", by: "n4" };
  const three = [member("n1"), member("n2"), member("n3", { answers: false })];
  const nodes = { n1: here("n1"), n2: here("n2"), n4: worker("n4") };
  const dead = carriedOut(change, view(three, { ...nodes, n3: silent }));
  assert.deepEqual(dead.steps, ["remove-member", "add-learner", "start", "promote", "make-server"]);
  const living = carriedOut(
    change,
    view([member("n1"), member("n2"), member("n3")], { ...nodes, n3: here("n3") }),
  );
  assert.deepEqual(living.steps, [
    "add-learner",
    "start",
    "promote",
    "make-server",
    "remove-member",
    "make-worker",
  ]);
  const wiped = carriedOut(
    { verb: "replace", node: "n3", by: "n3" },
    view(three, { n1: here("n1"), n3: worker("n3") }),
  );
  assert.deepEqual(wiped.steps, [
    "remove-member",
    "add-learner",
    "start",
    "promote",
    "make-server",
  ]);
  assert.deepEqual(
    [dead, living, wiped].map(({ plan }) => plan.state),
    ["done", "done", "done"],
  );
});

test("remove the leader: leadership moves first; the node becomes a worker", () => {
  const seen = view([member("n1"), member("n2"), member("n3")], { n1: here("n1") });
  const { steps, plan } = carriedOut({ verb: "remove", node: "n1" }, seen);
  assert.deepEqual(steps, ["move-leader", "remove-member", "make-worker"]);
  assert.equal(plan.state, "done");
});

test("what would lose quorum is refused, and says why", () => {
  const three = (...silentOnes: string[]) =>
    ["n1", "n2", "n3"].map((node) => member(node, { answers: !silentOnes.includes(node) }));
  const nodes = { n1: here("n1"), n2: here("n2"), n4: worker("n4") };
  assert.match(
    refusalOf({ verb: "remove", node: "n2" }, view(three("n3"), nodes)),
    /without n2 quorum would be lost: of n1 and n3 only one would answer, and two are needed/,
  );
  assert.match(
    refusalOf({ verb: "remove", node: "n3" }, view(three("n2", "n3"), nodes)),
    /quorum is lost: of three servers only one answer, and two are needed/,
  );
  assert.match(
    refusalOf({ verb: "add", node: "n4" }, view(three("n3"), nodes)),
    /n3 does not answer: another voter/,
  );
  assert.match(
    refusalOf({ verb: "remove", node: "n1" }, view([member("n1")], nodes)),
    /only server/,
  );
  assert.match(refusalOf({ verb: "remove", node: "n1" }, view([], nodes, "sqlite")), /only server/);
});

test("what is missing is refused by name, with what mends it", () => {
  const seen = view([], { n1: here("n1"), n2: worker("n2", { etcdVersion: undefined }) }, "sqlite");
  const plan = planChange({ verb: "add", node: "n2" }, seen);
  assert.ok(plan.state === "refused" && /etcd is not installed on n2/.test(plan.message));
  assert.ok(plan.state === "refused" && /apt-get install etcd-server/.test(plan.hint));
  assert.match(refusalOf({ verb: "add", node: "n9" }, seen), /n9 is not a node of this cell/);
  assert.match(
    refusalOf(
      { verb: "add", node: "n3" },
      view([member("n1"), member("n2"), member("n3", { answers: false })], {
        n1: here("n1"),
        n3: worker("n3"),
      }),
    ),
    /n3 is a member of the ledger already, but this machine does not hold its data/,
  );
});

test("whatever is seen, no step leaves fewer answering voters than quorum needs, and changes end", () => {
  const nodes = ["n1", "n2", "n3", "n4", "n5"];
  const changes = fc.oneof(
    fc.record({
      verb: fc.constantFrom("add" as const, "remove" as const, "move-leader" as const),
      node: fc.constantFrom(...nodes),
    }),
    fc.record({
      verb: fc.constant("replace" as const),
      node: fc.constantFrom(...nodes),
      by: fc.constantFrom(...nodes),
    }),
  );
  const cells = fc.record({
    voters: fc.subarray(nodes, { minLength: 1 }),
    silent: fc.subarray(nodes),
    wiped: fc.subarray(nodes),
  });
  fc.assert(
    fc.property(changes, cells, (change, { voters, silent: gone, wiped }) => {
      const members = voters.map((node) =>
        member(node, {
          answers: !gone.includes(node) && !wiped.includes(node),
          isLeader: node === voters[0],
        }),
      );
      const known = nodes.map((node) => {
        const state = gone.includes(node)
          ? silent
          : voters.includes(node) && !wiped.includes(node)
            ? here(node)
            : worker(node);
        return [node, state] as const;
      });
      let seen = view(members, Object.fromEntries(known));
      const answering = ({ members: all }: MembershipView) => {
        const voting = all.filter(({ isLearner }) => !isLearner);
        return voting.filter(({ answers }) => answers).length >= quorumOf(voting.length);
      };
      for (let left = 20; left > 0; left--) {
        const plan = planChange(change, seen);
        if (plan.state !== "next") return;
        assert.ok(answering(seen), `${plan.step.step} without quorum`);
        seen = after(plan.step, seen);
        assert.ok(answering(seen), `${plan.step.step} loses quorum`);
      }
      assert.fail("no end");
    }),
    { numRuns: 2000 },
  );
});

test("L17: a witness is removed like a server, never leads, and does not replace the last server", () => {
  const witness = member("n9", { name: "w1", isWitness: true });
  const members = [member("n1"), member("n2"), witness];
  const nodes = { n1: here("n1"), n2: here("n2") };
  const seen = (more: Partial<MembershipView> = {}): MembershipView => ({
    ...view(members, nodes),
    witnesses: new Set(["w1"]),
    ...more,
  });
  assert.deepEqual(planChange({ verb: "remove", node: "w1" }, seen()), {
    state: "next",
    step: { step: "remove-member", node: "w1", memberId: witness.id },
  });
  const gone = planChange({ verb: "remove", node: "w1" }, seen({ members: members.slice(0, 2) }));
  assert.equal(gone.state, "done");
  assert.match(refusalOf({ verb: "move-leader", node: "w1" }, seen()), /votes and never leads/);
  assert.deepEqual(planChange({ verb: "remove", node: "n1" }, seen()), {
    state: "next",
    step: { step: "move-leader", node: "n2", memberId: idOf("n2") },
  });
  assert.match(
    refusalOf({ verb: "remove", node: "n1" }, seen({ members: [member("n1"), witness] })),
    /only server/,
  );
});
