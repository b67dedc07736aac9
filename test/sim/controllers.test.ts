/** The loops on the real ledger in virtual time. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  deploymentKind,
  endpointsKind,
  eventKind,
  leaseKind,
  namespaceKind,
  nodeKind,
  nodeLeaseNamespace,
  podKind,
  replicaSetKind,
  serviceKind,
  type Pod,
} from "../../src/api/index.ts";
import {
  deploymentOf,
  isRolledOut,
  openTestCell,
  type TestCell,
} from "../support/controllers-cell.ts";
import { done } from "../support/resources.ts";

const rolledOut = (cell: TestCell, name: string) => async () => {
  const deployment = await cell.get(deploymentKind, name);
  return deployment !== undefined && isRolledOut(deployment);
};
const living = (pods: readonly Pod[]) => pods.filter(({ metadata }) => !metadata.deletionTimestamp);
const silent = { state: "unreachable", forMs: 1500, witnesses: ["n3"] } as const;

test("C1: a deployment runs its pods, spread over the nodes, and says so", async () => {
  await using cell = await openTestCell();
  await cell.apply(deploymentOf("web", 3));
  await cell.until("the rollout", rolledOut(cell, "web"));
  const pods = await cell.pods();
  assert.deepEqual(pods.map(({ spec }) => spec.nodeName).sort(), ["n1", "n2", "n3"]);
  const status = (await cell.get(deploymentKind, "web"))?.status;
  assert.equal(status?.readyReplicas, 3);
  const reasons = status?.conditions?.map(({ type, status: value, reason }) => [
    type,
    value,
    reason,
  ]);
  assert.deepEqual(reasons, [
    ["Available", "True", "MinimumReplicasAvailable"],
    ["Progressing", "True", "NewReplicaSetAvailable"],
  ]);
});

test("C2: a new template replaces the old pods, an old one comes back with the next revision", async () => {
  await using cell = await openTestCell();
  await cell.apply(deploymentOf("web", 3));
  await cell.until("the rollout", rolledOut(cell, "web"));
  const before = await cell.pods();
  const setEnv = (value: string) =>
    cell.change("web", ({ spec }) => {
      spec.template.spec.containers[0]!.env = [{ name: "A", value }];
    });
  await setEnv("1");
  await cell.until("the second rollout", rolledOut(cell, "web"));
  await cell.until("the old pods to go", async () => (await cell.pods()).length === 3);
  const uids = new Set(before.map(({ metadata }) => metadata.uid));
  assert.ok((await cell.pods()).every(({ metadata }) => !uids.has(metadata.uid)));
  await cell.change("web", ({ spec }) => {
    delete spec.template.spec.containers[0]!.env;
  });
  await cell.until("the return", async () => {
    const deployment = await cell.get(deploymentKind, "web");
    return (
      deployment !== undefined &&
      isRolledOut(deployment) &&
      deployment.metadata.annotations?.["deployment.kubernetes.io/revision"] === "3"
    );
  });
  assert.equal((await cell.resources.list(replicaSetKind)).items.length, 2);
});

test("C3: a dead node's pods start elsewhere; when it returns the survivor stays and the newest goes", async () => {
  await using cell = await openTestCell();
  await cell.apply(deploymentOf("web", 3));
  await cell.until("the rollout", rolledOut(cell, "web"));
  const survivor = (await cell.pods()).find(({ spec }) => spec.nodeName === "n2");
  cell.setAgent("n2", "down");
  cell.setVerdict("n2", silent);
  const diedMs = cell.clock.monotonicMs();
  const readyElsewhere = async () =>
    (await cell.pods()).filter(
      ({ spec, status }) => spec.nodeName !== "n2" && status?.phase === "Running",
    ).length === 3;
  await cell.until("the replacement", readyElsewhere);
  assert.ok(cell.clock.monotonicMs() - diedMs < 2000);
  const node = await cell.get(nodeKind, "n2");
  assert.equal(node?.status?.conditions?.find(({ type }) => type === "Ready")?.status, "Unknown");
  assert.ok(node?.spec?.taints?.some(({ key }) => key === "node.kubernetes.io/unreachable"));
  const lost = (await cell.pods()).find(({ spec }) => spec.nodeName === "n2");
  assert.equal(lost?.status?.reason, "NodeLost");
  assert.equal(lost?.metadata.deletionTimestamp, undefined, "nothing is deleted on a silent node");

  cell.setAgent("n2", "up");
  cell.setVerdict("n2", { state: "alive" });
  await cell.until("the surplus to go", async () => (await cell.pods()).length === 3, 20_000);
  const uids = (await cell.pods()).map(({ metadata }) => metadata.uid);
  assert.ok(uids.includes(survivor?.metadata.uid), "the survivor was killed");
  const returned = await cell.get(nodeKind, "n2");
  assert.deepEqual(returned?.spec?.taints ?? [], []);
  await cell.until("a quiet rollout", rolledOut(cell, "web"));
});

test("C4: without the right to evict nothing is replaced, and the pod says why", async () => {
  await using cell = await openTestCell({ nodes: 2 });
  await cell.apply(deploymentOf("web", 2));
  await cell.until("the rollout", rolledOut(cell, "web"));
  cell.mayEvict = { allowed: false, because: "this server reaches 1 of 2 nodes" };
  cell.setAgent("n2", "down");
  cell.setVerdict("n2", silent);
  await cell.clock.advance(120_000);
  const pods = await cell.pods();
  assert.equal(pods.length, 2);
  const held = pods.find(({ spec }) => spec.nodeName === "n2");
  assert.match(held?.status?.message ?? "", /not replaced: this server reaches 1 of 2/);
  cell.mayEvict = { allowed: true, because: "the hub vouches" };
  await cell.until("the replacement", async () => (await cell.pods()).length === 3);
});

test("C5: an agent that is down is replaced after 30 s, and what runs at most once only when its lease tells", async () => {
  await using cell = await openTestCell();
  // As agents of before rule F wrote it.
  const metadata = { name: "n2", namespace: nodeLeaseNamespace };
  const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata } as const;
  done(await cell.resources.create(leaseKind, lease));
  await cell.apply(deploymentOf("web", 3));
  const recreate = { strategy: { type: "Recreate" as const } };
  await cell.apply(deploymentOf("only", 3, recreate));
  await cell.until("web", rolledOut(cell, "web"));
  await cell.until("only", rolledOut(cell, "only"));
  cell.setAgent("n2", "down");
  cell.setVerdict("n2", { state: "agent-down", forMs: 0 });
  await cell.clock.advance(29_000);
  assert.equal((await cell.pods()).length, 6);
  const node = await cell.get(nodeKind, "n2");
  assert.equal(node?.status?.conditions?.find(({ type }) => type === "Ready")?.reason, "AgentDown");
  await cell.until("web's replacement", async () => (await cell.pods("app=web")).length === 4);
  cell.setVerdict("n2", silent);
  await cell.clock.advance(300_000);
  const only = await cell.pods("app=only");
  assert.equal(only.length, 3, "a second copy of a stop pod");
  const held = only.find(({ spec }) => spec.nodeName === "n2");
  assert.match(held?.status?.message ?? "", /at most once/);

  done(await cell.resources.delete(nodeKind, { name: "n2" }));
  await cell.until("the person's word to count", async () => {
    const pods = await cell.pods("app=only");
    return pods.length === 3 && pods.every(({ spec }) => spec.nodeName !== "n2");
  });
});

test("C6: endpoints follow readiness, names of ports and silent nodes", async () => {
  await using cell = await openTestCell();
  const deployment = deploymentOf("web", 3);
  deployment.spec.template.spec.containers[0]!.ports = [{ name: "http", containerPort: 8080 }];
  await cell.apply(deployment);
  done(
    await cell.resources.create(serviceKind, {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web", namespace: "default" },
      spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: "http" }] },
    }),
  );
  const ready = async () =>
    (await cell.get(endpointsKind, "web"))?.subsets?.[0]?.addresses?.map(
      ({ nodeName }) => nodeName,
    ) ?? [];
  await cell.until("three addresses", async () => (await ready()).length === 3);
  assert.equal((await cell.get(endpointsKind, "web"))?.subsets?.[0]?.ports?.[0]?.port, 8080);
  cell.setVerdict("n3", silent);
  cell.mayEvict = { allowed: false, because: "nobody vouches" };
  await cell.until("n3 to be left out", async () => !(await ready()).includes("n3"), 2000);
  cell.setVerdict("n3", { state: "alive" });
  await cell.until("n3 to be back", async () => (await ready()).includes("n3"), 10_000);
  done(await cell.resources.delete(serviceKind, { namespace: "default", name: "web" }));
  await cell.until(
    "no endpoints",
    async () => (await cell.get(endpointsKind, "web")) === undefined,
  );
});

test("C7: what cannot be placed says why per node, and is placed when there is room", async () => {
  await using cell = await openTestCell({ nodes: 2 });
  const deployment = deploymentOf("big", 3);
  deployment.spec.template.spec.containers[0]!.resources = { requests: { memory: "3Gi" } };
  await cell.apply(deployment);
  const waiting = async () => (await cell.pods()).find(({ spec }) => !spec.nodeName);
  await cell.until("a refusal in words", async () => {
    const condition = (await waiting())?.status?.conditions?.find(
      ({ type }) => type === "PodScheduled",
    );
    return (
      condition?.status === "False" && /n1, n2: not enough memory/.test(condition.message ?? "")
    );
  });
  await cell.addNode("n3");
  await cell.until("the third", rolledOut(cell, "big"));
  const conditions = (await cell.pods()).flatMap(({ status }) => status?.conditions ?? []);
  assert.ok(conditions.every(({ type, status }) => type !== "PodScheduled" || status === "True"));
});

test("C7: nothing is placed on a node that nobody has heard of since the leader began", async () => {
  await using cell = await openTestCell();
  // Gone before a recovery: their Nodes still say that they are ready.
  for (const node of ["n1", "n3"]) cell.setVerdict(node, { state: "unknown" });
  await cell.apply(deploymentOf("web", 2));
  await cell.until("the rollout", rolledOut(cell, "web"));
  const places = async () => (await cell.pods()).map(({ spec }) => spec.nodeName).sort();
  assert.deepEqual(await places(), ["n2", "n2"]);
  for (const node of ["n1", "n2"]) cell.setVerdict(node, { state: "unknown" });
  await cell.change("web", ({ spec }) => void (spec.replicas = 3));
  const third = async () => (await cell.pods()).find(({ spec }) => spec.nodeName !== "n2");
  const told = () => third().then((pod) => pod?.status?.conditions?.[0]?.message ?? "");
  await cell.until("the reason", async () =>
    /n2: the node has not been heard of/.test(await told()),
  );
  cell.setVerdict("n3", { state: "alive" });
  await cell.until("the rollout", rolledOut(cell, "web"));
  assert.deepEqual(await places(), ["n2", "n2", "n3"]);
});

test("C8: deleting an owner deletes what it owns; orphaning leaves it, and it is adopted again", async () => {
  await using cell = await openTestCell();
  const web = deploymentOf("web", 2);
  await cell.apply(web);
  await cell.until("the rollout", rolledOut(cell, "web"));
  const key = { namespace: "default", name: "web" };
  const before = new Set((await cell.pods()).map(({ metadata }) => metadata.uid));
  done(await cell.resources.delete(deploymentKind, key, { propagationPolicy: "Orphan" }));
  await cell.until("the deployment to go", async () => !(await cell.get(deploymentKind, "web")));
  await cell.clock.advance(5000);
  assert.equal(living(await cell.pods()).length, 2);
  await cell.apply(web);
  await cell.until("the adoption", rolledOut(cell, "web"));
  assert.ok((await cell.pods()).every(({ metadata }) => before.has(metadata.uid)));
  done(await cell.resources.delete(deploymentKind, key, { propagationPolicy: "Foreground" }));
  await cell.until("everything to go", async () => {
    const sets = (await cell.resources.list(replicaSetKind)).items.length;
    return sets + (await cell.pods()).length === 0 && !(await cell.get(deploymentKind, "web"));
  });
});

test("C9: a namespace empties itself before it goes; the built-in ones come by themselves", async () => {
  await using cell = await openTestCell();
  for (const name of ["default", "kube-system", "kube-node-lease"])
    await cell.until(name, async () => (await cell.get(namespaceKind, name)) !== undefined);
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } } as const;
  done(await cell.resources.create(namespaceKind, namespace));
  const deployment = deploymentOf("web", 2);
  deployment.metadata.namespace = "shop";
  done(await cell.resources.create(deploymentKind, deployment));
  await cell.until("pods", async () => (await cell.pods()).length === 2);
  done(await cell.resources.delete(namespaceKind, { name: "shop" }));
  await cell.until("the namespace to go", async () => !(await cell.get(namespaceKind, "shop")));
  assert.equal((await cell.pods()).length, 0);
  assert.equal((await cell.resources.list(deploymentKind)).items.length, 0);
});

test("C10: events count repetitions in one object", async () => {
  await using cell = await openTestCell({ nodes: 1 });
  const deployment = deploymentOf("huge", 1);
  deployment.spec.template.spec.containers[0]!.resources = { requests: { cpu: "64" } };
  await cell.apply(deployment);
  const refusals = async () =>
    (await cell.resources.list(eventKind)).items.filter(
      ({ reason }) => reason === "FailedScheduling",
    );
  await cell.until("an event", async () => (await refusals()).length === 1);
  const [pod] = await cell.pods();
  assert.equal((await refusals())[0]?.involvedObject.uid, pod?.metadata.uid);
  assert.match((await refusals())[0]?.message ?? "", /not enough cpu/);
});

test("C11: a rollout that does not progress says so after its deadline", async () => {
  await using cell = await openTestCell();
  cell.becomesReady = () => false;
  await cell.apply(deploymentOf("web", 2, { progressDeadlineSeconds: 20 }));
  const progressing = async () =>
    (await cell.get(deploymentKind, "web"))?.status?.conditions?.find(
      ({ type }) => type === "Progressing",
    );
  await cell.clock.advance(15_000);
  assert.equal((await progressing())?.status, "True");
  await cell.until(
    "the deadline",
    async () => (await progressing())?.reason === "ProgressDeadlineExceeded",
  );
  cell.becomesReady = () => true;
  await cell.until("the rollout", rolledOut(cell, "web"));
  assert.equal((await progressing())?.reason, "NewReplicaSetAvailable");
});

test("C12: stopping leaves nothing running and a new leader takes over in the middle", async () => {
  const cell = await openTestCell();
  await cell.apply(deploymentOf("web", 6));
  await cell.clock.advance(30);
  await cell.changeLeader();
  await cell.until("the rollout", rolledOut(cell, "web"));
  assert.equal((await cell.pods()).length, 6);
  await cell[Symbol.asyncDispose]();
  assert.equal(cell.clock.pending, 0);
});

test("C13: a pod of a terminating node is not kept terminating for ever", async () => {
  await using cell = await openTestCell();
  await cell.apply(deploymentOf("web", 3));
  await cell.until("the rollout", rolledOut(cell, "web"));
  cell.setAgent("n2", "down");
  const stuck = (await cell.pods()).find(({ spec }) => spec.nodeName === "n2");
  done(
    await cell.resources.delete(podKind, {
      namespace: "default",
      name: stuck?.metadata.name ?? "",
    }),
  );
  cell.setVerdict("n2", silent);
  await cell.until(
    "the pod to be forgotten",
    async () => !(await cell.pods()).some(({ metadata }) => metadata.uid === stuck?.metadata.uid),
    120_000,
  );
});
