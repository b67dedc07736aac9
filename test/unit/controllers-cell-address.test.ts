/** Who holds a cell address: the plan as a table, and the loop in virtual time. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  canHoldAddress,
  cellAddressAnnotation,
  cellAddressKind,
  eventKind,
  nodeKind,
  serverRoleLabel,
  type CellAddress,
  type Node,
  type NodeVerdict,
} from "../../src/api/index.ts";
import {
  cellAddressDefaults,
  planCellAddress,
  statusAfter,
  type CellAddressStep,
  type CellAddressView,
} from "../../src/controllers/cell-address/plan.ts";
import { openTestCell } from "../support/controllers-cell.ts";
import { done } from "../support/resources.ts";

const addressOf = (status: CellAddress["status"] = {}): CellAddress => ({
  apiVersion: "skerry.dev/v1alpha1",
  kind: "CellAddress",
  metadata: { name: "cell" },
  spec: { addresses: ["192.0.2.50/24"] },
  status,
});
const said = (word: string) => ({ [cellAddressAnnotation("cell")]: word });
const nodeOf = (name: string, word = canHoldAddress): Node => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, annotations: said(word) },
});
const unreachable = (forMs = 2000): NodeVerdict => ({ state: "unreachable", forMs, witnesses: [] });
const up: NodeVerdict = { state: "alive" };

function plan(view: {
  status?: CellAddress["status"];
  nodes?: readonly Node[];
  verdicts?: Record<string, NodeVerdict>;
  servers?: number;
  allowed?: boolean;
  leavingForMs?: number;
  betterForMs?: number;
  patience?: Record<string, number>;
}): CellAddressStep {
  const nodes = view.nodes ?? ["n1", "n2", "n3"].map((name) => nodeOf(name));
  const verdicts = nodes
    .map(({ metadata }) => metadata.name)
    .filter((name) => name !== "n1")
    .map((name) => [name, view.verdicts?.[name] ?? up] as const);
  const full: CellAddressView = {
    address: addressOf(view.status),
    nodes,
    verdicts: new Map(verdicts),
    self: "n1",
    servers: view.servers ?? 1,
    mayEvict: () => ({ allowed: view.allowed ?? true, because: "the test says so" }),
    patience: (node) => view.patience?.[node] ?? 1,
    leavingForMs: view.leavingForMs ?? 0,
    betterForMs: view.betterForMs ?? 0,
  };
  return planCellAddress(full, cellAddressDefaults);
}
const goesTo = (step: CellAddressStep) => (step.do === "give" ? step.to : step.do);

test("C21: an address is given to a node that can hold it, and stays there", () => {
  assert.equal(goesTo(plan({ servers: 3 })), "n1");
  assert.equal(goesTo(plan({ nodes: [nodeOf("n1", "no root"), nodeOf("n2")] })), "n2");
  const none = plan({ nodes: [nodeOf("n1", "no root")] });
  assert.equal(none.do, "none");
  assert.match(none.do === "none" ? none.because : "", /n1: no root/);
  for (const holder of ["n2", "n3"]) assert.equal(plan({ status: { holder } }).do, "nothing");
  assert.equal(plan({ status: { holder: "n1" }, servers: 3 }).do, "nothing");
  const cordoned = { ...nodeOf("n2"), spec: { unschedulable: true } };
  const nodes = [nodeOf("n1"), cordoned, nodeOf("n3")];
  assert.equal(plan({ status: { holder: "n2" }, nodes }).do, "nothing");
  assert.equal(goesTo(plan({ nodes })), "n3");
});

test("C21: of those who can hold it, one that did not come and go lately", () => {
  const patience = { n1: 2, n2: 4 };
  assert.equal(goesTo(plan({ servers: 3, patience })), "n3");
  assert.equal(goesTo(plan({ patience: { n2: 2 }, betterForMs: 60_000 })), "n3");
  assert.equal(plan({ status: { holder: "n2" }, patience }).do, "nothing");
  // Rather from one that comes and goes than from the only server, whose loss nobody could make good.
  assert.equal(goesTo(plan({ patience: { n2: 8, n3: 4 } })), "n3");
});

test("C21: it goes when its holder is gone, silent, cannot serve, or its agent stays down", () => {
  const status = { holder: "n2" };
  const withN2 = (n2: NodeVerdict, allowed = true) =>
    plan({ status, verdicts: { n2 }, allowed, servers: 3 });
  assert.equal(goesTo(withN2(unreachable())), "n1");
  assert.equal(goesTo(withN2({ state: "agent-down", forMs: 2500 })), "n1");
  assert.deepEqual(withN2({ state: "agent-down", forMs: 500 }), { do: "nothing", againMs: 1500 });
  assert.equal(withN2({ state: "unknown" }).do, "nothing");
  assert.equal(withN2({ state: "link-down", forMs: 9000, heardBy: ["n3"] }).do, "nothing");
  const broken = [nodeOf("n1"), nodeOf("n2", "its ingress does not listen"), nodeOf("n3")];
  assert.equal(goesTo(plan({ status, nodes: broken, servers: 3 })), "n1");
  assert.equal(goesTo(plan({ status, nodes: [nodeOf("n1"), nodeOf("n3")], servers: 3 })), "n1");
  // Nobody else could hold it: it is not taken from one who may come back with it.
  const alone = [nodeOf("n1", "no root"), nodeOf("n2"), nodeOf("n3", "no root")];
  assert.equal(plan({ status, nodes: alone, verdicts: { n2: unreachable() } }).do, "nothing");
});

test("C22: without rule E's word it is withdrawn first, and only by a side that is no minority", () => {
  const two = [nodeOf("n1"), nodeOf("n2")];
  const verdicts = { n2: unreachable() };
  const refused = plan({ status: { holder: "n2" }, nodes: two, verdicts, allowed: false });
  assert.equal(refused.do, "withdraw");
  const status = statusAfter(addressOf({ holder: "n2", moves: 1 }), refused, 0);
  assert.equal(status?.holder, undefined);
  assert.equal(status?.leaving, "n2");
  const wait = plan({ status, nodes: two, verdicts, allowed: false, leavingForMs: 3000 });
  assert.deepEqual(wait, { do: "nothing", againMs: cellAddressDefaults.leaseOverMs - 3000 });
  const over = plan({
    status,
    nodes: two,
    verdicts,
    leavingForMs: cellAddressDefaults.leaseOverMs,
  });
  assert.equal(goesTo(over), "n1");
  assert.equal(statusAfter(addressOf(status), over, 0)?.moves, 2);
  const back = plan({ status, nodes: two, leavingForMs: 100 });
  assert.equal(goesTo(back), "n2");
  assert.equal(statusAfter(addressOf(status), back, 0)?.moves, 1);

  const alone = { n2: unreachable(), n3: unreachable() };
  assert.equal(plan({ status: { holder: "n2" }, verdicts: alone, allowed: false }).do, "nothing");
});

test("C23: what the only server holds goes to a worker once that is settled, and the other way never", () => {
  assert.equal(goesTo(plan({})), "n2");
  const status = { holder: "n1" };
  assert.deepEqual(plan({ status }), { do: "nothing", againMs: 10_000, better: true });
  assert.equal(goesTo(plan({ status, betterForMs: 10_000 })), "n2");
  assert.equal(plan({ status, nodes: [nodeOf("n1"), nodeOf("n2")] }).do, "nothing");
  assert.equal(plan({ status, servers: 2, betterForMs: 10_000 }).do, "nothing");
});

test("C21, C22: in virtual time: one holder at every moment, a move for each loss and none back", async () => {
  await using cell = await openTestCell({ nodes: 3 });
  for (const name of ["n1", "n2", "n3"]) {
    const labels = name === "n1" ? { [serverRoleLabel]: "" } : {};
    const body = { metadata: { annotations: said(canHoldAddress), labels } };
    done(await cell.resources.patch(nodeKind, { name }, { type: "merge", body }));
  }
  done(await cell.resources.create(cellAddressKind, addressOf()));
  const holder = async () => (await cell.get(cellAddressKind, "cell"))?.status?.holder;
  const heldBy = (name: string) =>
    cell.until(`held by ${name}`, async () => (await holder()) === name);

  await heldBy("n2");
  cell.setVerdict("n2", unreachable());
  await heldBy("n3");
  cell.setVerdict("n2", up);
  await cell.clock.advance(60_000);
  assert.equal(await holder(), "n3");
  await cell.changeLeader();
  await cell.clock.advance(5000);
  assert.equal(await holder(), "n3");

  cell.mayEvict = { allowed: false, because: "the test says so" };
  cell.setVerdict("n3", unreachable());
  await cell.until("withdrawn", async () => (await holder()) === undefined);
  await heldBy("n2");
  const address = await cell.get(cellAddressKind, "cell");
  assert.equal(address?.status?.moves, 2);
  await cell.clock.advance(2000);
  const { items } = await cell.resources.list(eventKind);
  const reasons = items
    .filter(({ involvedObject }) => involvedObject.kind === "CellAddress")
    .map(({ reason }) => reason)
    .toSorted();
  assert.deepEqual(reasons, ["AddressGiven", "AddressMoved", "AddressMoved", "AddressUnheld"]);
});

test("a CellAddress that no machine could hold is refused with the field", () => {
  const issues = (spec: CellAddress["spec"]) =>
    cellAddressKind.validate({ ...addressOf(), spec }).map(({ field }) => field);
  assert.deepEqual(
    issues({ addresses: ["192.0.2.50/24", "2001:db8::50/64"], interface: "eth0" }),
    [],
  );
  assert.deepEqual(issues({ addresses: [] }), ["spec.addresses"]);
  assert.deepEqual(issues({ addresses: ["192.0.2.50"] }), ["spec.addresses[0]"]);
  assert.deepEqual(issues({ addresses: ["192.0.2.50/33"] }), ["spec.addresses[0]"]);
  assert.deepEqual(issues({ addresses: ["192.0.2.50/24"], interface: "eth0; reboot" }), [
    "spec.interface",
  ]);
});
