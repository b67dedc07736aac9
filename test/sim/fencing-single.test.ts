/**
 * Rule F in virtual time: whatever happens to links, agents, clocks and leaders, what runs at most once
 * never runs twice at any moment. What no timer covers, a keeper or machine that stands still, is shown
 * at the end: there the fencing token decides.
 */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  deploymentKind,
  nodeKind,
  podKind,
  type Deployment,
  type NodeVerdict,
} from "../../src/api/index.ts";
import { startControllers } from "../../src/controllers/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createLedgerResources, ensureNamespaces } from "../../src/resources/index.ts";
import { deploymentOf, isRolledOut } from "../support/controllers-cell.ts";
import { openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { done } from "../support/resources.ts";
import { createSingleNode, type SingleNode } from "../support/single-node.ts";
import { join } from "node:path";

const graceMs = 4000;
const ttlMs = 10_000;
const marginMs = 3000;

function singleOf(name: string, spec: Partial<Deployment["spec"]> = {}): Deployment {
  const deployment = deploymentOf(name, 1, spec);
  const { template } = deployment.spec;
  template.metadata = {
    ...template.metadata,
    annotations: { "skerry.dev/partition-ttl": "10s", "skerry.dev/on-partition": "stop" },
  };
  template.spec.terminationGracePeriodSeconds = graceMs / 1000;
  template.spec.containers = [{ name: "main", image: "host", command: ["run"] }];
  return deployment;
}

async function openCell(seed: number) {
  const folder = await temporaryFolder();
  const clock = createSimulatedClock();
  const random = seededRandom(seed);
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db"), clock, random });
  const resources = createLedgerResources({ ledger, clock, random });
  await ensureNamespaces(resources);

  /** By application: what runs of it, on which node, with which token. */
  const running = new Map<string, { id: string; node: string; fence: number; sinceMs: number }[]>();
  const starts: { app: string; node: string; pod: string; fence: number; atMs: number }[] = [];
  const doubles: string[] = [];
  const watcher = {
    started(node: string, spec: { id: string; env: Readonly<Record<string, string>> }) {
      const pod = spec.env["POD_NAME"] ?? "";
      const app = pod.split("-")[0] ?? "";
      const fence = Number(spec.env["SKERRY_FENCE"]);
      const now = running.get(app) ?? [];
      const atMs = clock.monotonicMs();
      for (const other of now)
        doubles.push(`${atMs}: ${spec.id} on ${node} beside ${other.id} on ${other.node}`);
      running.set(app, [...now, { id: spec.id, node, fence, sinceMs: atMs }]);
      starts.push({ app, node, pod, fence, atMs });
    },
    ended(node: string, id: string) {
      for (const [app, all] of running)
        running.set(
          app,
          all.filter((one) => one.id !== id || one.node !== node),
        );
    },
  };
  const nodes: SingleNode[] = [];
  for (const name of ["n1", "n2", "n3"]) {
    done(
      await resources.create(nodeKind, {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name, labels: { "kubernetes.io/hostname": name } },
        spec: {},
        status: { allocatable: { cpu: "4", memory: "4Gi", pods: "20" } },
      }),
    );
    const deps = { clock, random, resources, watcher };
    nodes.push(createSingleNode(deps, { name, folder: folder.path }));
  }

  /** Since when each node is in its state: what membership would conclude from beats. */
  const sinceByNode = new Map<string, { state: string; atMs: number }>();
  const verdictOf = (node: SingleNode): NodeVerdict => {
    const state = node.link.cut ? "cut" : node.agent === "up" ? "up" : "down";
    const before = sinceByNode.get(node.name);
    const since = before?.state === state ? before : { state, atMs: clock.monotonicMs() };
    sinceByNode.set(node.name, since);
    const forMs = clock.monotonicMs() - since.atMs;
    if (state === "cut" && forMs >= 1500) return { state: "unreachable", forMs, witnesses: [] };
    return state === "down" && forMs >= 1000 ? { state: "agent-down", forMs } : { state: "alive" };
  };
  const listeners = new Set<(node: string) => void>();
  const verdicts = {
    self: "n1",
    verdicts: () => new Map(nodes.map((node) => [node.name, verdictOf(node)])),
    mayEvict: () => ({ allowed: true, because: "this server reaches most nodes" }),
    tolerance: () => undefined,
    onChange(listener: (node: string) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const lead = () => startControllers({ resources, verdicts, clock, random, log: silentLog });
  let controllers = lead();
  const ending = new AbortController();
  const judging = (async () => {
    const told = new Map<string, string>();
    while (!ending.signal.aborted) {
      for (const node of nodes) {
        const { state } = verdictOf(node);
        if (told.get(node.name) === state) continue;
        told.set(node.name, state);
        for (const listener of listeners) listener(node.name);
      }
      await clock.sleep(500);
    }
  })();

  const cell = {
    clock,
    random,
    resources,
    nodes,
    node: (name: string) => nodes.find((one) => one.name === name)!,
    running: (app: string) => running.get(app) ?? [],
    starts,
    doubles,
    async changeLeader() {
      const stopping = controllers.stop();
      await clock.advance(10);
      await stopping;
      controllers = lead();
    },
    async until(what: string, condition: () => boolean | Promise<boolean>, withinMs: number) {
      const limitMs = clock.monotonicMs() + withinMs;
      while (!(await condition())) {
        if (clock.monotonicMs() > limitMs) {
          const { items } = await resources.list(podKind);
          const pods = items.map(
            ({ metadata, spec, status }) =>
              `${metadata.name} on ${spec.nodeName} ${status?.phase} ${status?.reason ?? ""} ${status?.message ?? ""} ${metadata.deletionTimestamp ?? ""} ${JSON.stringify(status?.containerStatuses?.[0]?.state)}`,
          );
          assert.fail(`waited ${withinMs} virtual ms for ${what}\n${pods.join("\n")}`);
        }
        await clock.advance(100);
      }
    },
    isRolledOut: (name: string) => async () => {
      const found = await resources.get(deploymentKind, { namespace: "default", name });
      return found !== undefined && isRolledOut(found) && (running.get(name)?.length ?? 0) === 1;
    },
    async [Symbol.asyncDispose]() {
      ending.abort();
      await Promise.all(nodes.map((node) => node.stop()));
      const stopping = controllers.stop();
      await clock.advance(1000);
      await stopping;
      await judging;
      await clock.advance(10_000);
      await ledger.close();
      await folder[Symbol.asyncDispose]();
    },
  };
  return cell;
}

test("C19, W16, K11: a cut-off node's single pod stops in time and starts elsewhere after its lease; when the link heals nothing runs twice", async () => {
  await using cell = await openCell(1);
  done(
    await cell.resources.create(
      deploymentKind,
      singleOf("one", { strategy: { type: "Recreate" } }),
    ),
  );
  await cell.until("the rollout", cell.isRolledOut("one"), 60_000);
  const [first] = cell.running("one");
  assert.ok(first);
  const node = cell.node(first.node);
  node.link.cut = true;
  const cutMs = cell.clock.monotonicMs();
  await cell.until("the stop", () => cell.running("one").length === 0, ttlMs + graceMs + 1000);
  await cell.until(
    "the wait to be told",
    async () => {
      const { items } = await cell.resources.list(podKind);
      return items.some(({ status }) => /started elsewhere 17 s after/.test(status?.message ?? ""));
    },
    5000,
  );
  await cell.until("the replacement", () => cell.running("one").length === 1, 60_000);
  const second = cell.running("one")[0];
  assert.notEqual(second?.node, first.node);
  assert.ok((second?.fence ?? 0) > first.fence, "its token is the greater");
  const tookMs = cell.clock.monotonicMs() - cutMs;
  assert.ok(tookMs > ttlMs / 3 + graceMs + marginMs, `${tookMs} ms`);
  assert.ok(tookMs < ttlMs + graceMs + marginMs + 5000, `${tookMs} ms`);
  node.link.cut = false;
  await cell.clock.advance(60_000);
  assert.deepEqual(cell.doubles, []);
  assert.deepEqual(
    cell.running("one").map(({ id }) => id),
    [second?.id],
  );
});

for (const seed of [1, 2]) {
  test(`C19, W15, W16, K11, K12: cuts, slow links, dead and paused agents, new leaders, clock steps, rollouts and deletions: never two at once, seed ${seed}`, async () => {
    await using cell = await openCell(seed);
    const { random, clock } = cell;
    done(
      await cell.resources.create(
        deploymentKind,
        singleOf("one", { strategy: { type: "Recreate" } }),
      ),
    );
    done(await cell.resources.create(deploymentKind, singleOf("two")));
    await cell.until("the first rollout", cell.isRolledOut("one"), 60_000);
    const faults: ((node: SingleNode) => Promise<void> | void)[] = [
      (node) => void (node.link.cut = true),
      (node) => void (node.link.cut = false),
      (node) => void (node.link.slowMs = 9000),
      (node) => void (node.link.slowMs = 20),
      (node) => node.pause(),
      (node) => node.resume(),
      (node) => node.kill(),
      (node) => node.start(),
      () => cell.changeLeader(),
      () => clock.stepWall((random.float() - 0.5) * 200_000),
      async () => {
        const name = random.float() < 0.5 ? "one" : "two";
        const env = [{ name: "A", value: String(random.integer(1000)) }];
        const found = await cell.resources.get(deploymentKind, { namespace: "default", name });
        if (!found) return;
        const next = structuredClone(found);
        next.spec.template.spec.containers[0]!.env = env;
        await cell.resources.update(deploymentKind, next);
      },
      async () => {
        const { items } = await cell.resources.list(podKind);
        const pod = items[random.integer(Math.max(1, items.length))];
        if (pod)
          await cell.resources.delete(podKind, { namespace: "default", name: pod.metadata.name });
      },
    ];
    for (let round = 0; round < 16; round++) {
      const node = cell.nodes[random.integer(cell.nodes.length)]!;
      await faults[random.integer(faults.length)]!(node);
      await clock.advance(random.float() * (random.float() < 0.3 ? 30_000 : 4000));
      assert.deepEqual(cell.doubles, []);
    }
    for (const node of cell.nodes) {
      node.link.cut = false;
      node.link.slowMs = 20;
      node.resume();
      node.start();
    }
    await cell.until("one to run", cell.isRolledOut("one"), 300_000);
    await cell.until("two to run", cell.isRolledOut("two"), 300_000);
    assert.deepEqual(cell.doubles, []);
    for (const app of ["one", "two"]) {
      const fenceByPod = new Map<string, number>();
      let last = 0;
      for (const { pod, fence } of cell.starts.filter((start) => start.app === app)) {
        const known = fenceByPod.get(pod);
        if (known === undefined)
          assert.ok(fence > last, `${pod} has an older token than its predecessor`);
        else assert.equal(fence, known);
        fenceByPod.set(pod, fence);
        last = fence;
      }
    }
  });
}
