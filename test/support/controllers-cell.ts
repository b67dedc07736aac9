/**
 * A cell's control plane in virtual time: the real ledger and resources, the real controllers, and
 * nodes that do what an agent does with its pods.
 */
import { join } from "node:path";
import {
  deploymentKind,
  nodeKind,
  podKind,
  type Deployment,
  type KindDefinition,
  type KubeObject,
  type Node,
  type NodeVerdict,
  type Pod,
} from "../../src/api/index.ts";
import {
  startControllers,
  type ControllersOptions,
  type Tolerance,
  type Verdicts,
} from "../../src/controllers/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import {
  createLedgerResources,
  ensureNamespaces,
  type Resources,
} from "../../src/resources/index.ts";
import { noFaults, withResourceFaults, type FaultRates } from "./controllers-faults.ts";
import { openTestLedger, temporaryFolder } from "./ledger.ts";
import { deployment as plainDeployment, done } from "./resources.ts";

export type TestCell = AsyncDisposable & {
  readonly clock: SimulatedClock;
  readonly random: Random;
  /** Without faults. */
  readonly resources: Resources;
  faults: FaultRates;
  /** What membership says; a node that is not set is alive. */
  setVerdict(node: string, verdict: NodeVerdict): void;
  mayEvict: { allowed: boolean; because: string };
  /** What membership says of a node that flaps. */
  readonly tolerances: Map<string, Tolerance>;
  /** The machine does what it is told, or nothing at all. */
  setAgent(node: string, agent: "up" | "down"): void;
  /** Whether a pod that starts on any node becomes ready. */
  becomesReady: (pod: Pod) => boolean;
  pods(selector?: string): Promise<Pod[]>;
  get<T extends KubeObject>(kind: KindDefinition<T>, name: string): Promise<T | undefined>;
  addNode(name: string, fields?: Partial<Node>): Promise<void>;
  apply(deployment: Deployment): Promise<Deployment>;
  change(name: string, change: (deployment: Deployment) => void): Promise<void>;
  /** Lets virtual time pass until the condition holds; fails after `withinMs` of it. */
  until(what: string, condition: () => Promise<boolean>, withinMs?: number): Promise<void>;
  /** Restarts the controllers, as another leader would. */
  changeLeader(): Promise<void>;
  stopControllers(): Promise<void>;
};

const agentPeriodMs = 100;

export async function openTestCell(
  options: {
    seed?: number;
    nodes?: number;
    controllers?: ControllersOptions;
    clock?: SimulatedClock;
    /** Another's conclusions instead of those set by `setVerdict`. */
    verdicts?: Verdicts;
    /** Whether a node's agent acts at this moment; default: as set by `setAgent`. */
    acts?: (node: string) => boolean;
  } = {},
): Promise<TestCell> {
  const clock = options.clock ?? createSimulatedClock();
  const random = seededRandom(options.seed ?? 1);
  const folder = await temporaryFolder();
  const ledger = openTestLedger({ path: join(folder.path, "ledger.db"), clock, random });
  const resources = createLedgerResources({ ledger, clock, random });
  await ensureNamespaces(resources);

  const verdicts = new Map<string, NodeVerdict>();
  const sinceMs = new Map<string, number>();
  const listeners = new Set<(node: string) => void>();
  const agents = new Map<string, "up" | "down">();
  let stopped = false;

  const verdictNow = (node: string): NodeVerdict => {
    const verdict = verdicts.get(node) ?? { state: "alive" };
    if (!("forMs" in verdict)) return verdict;
    const forMs = verdict.forMs + clock.monotonicMs() - (sinceMs.get(node) ?? 0);
    return { ...verdict, forMs };
  };

  const start = () =>
    startControllers(
      {
        resources: withResourceFaults(resources, { clock, random }, () => cell.faults),
        verdicts: options.verdicts ?? {
          self: "n1",
          tolerance: (node) => cell.tolerances.get(node),
          verdicts: () => new Map([...agents.keys()].map((node) => [node, verdictNow(node)])),
          mayEvict: () => cell.mayEvict,
          onChange(listener) {
            listeners.add(listener);
            return () => void listeners.delete(listener);
          },
        },
        clock,
        random,
        log: silentLog,
      },
      options.controllers,
    );

  const acts = options.acts ?? ((node: string) => agents.get(node) === "up");

  /** What an agent does: starts what is bound to it, says how it is, confirms what has ended. */
  const actAsAgents = async () => {
    const { items } = await resources.list(podKind);
    for (const pod of items) {
      const { nodeName } = pod.spec;
      if (!nodeName || !acts(nodeName)) continue;
      const { name, namespace, uid } = pod.metadata;
      if (pod.metadata.deletionTimestamp) {
        await resources.delete(
          podKind,
          { namespace, name },
          { gracePeriodSeconds: 0, preconditions: { uid } },
        );
        continue;
      }
      const ready = cell.becomesReady(pod) ? "True" : "False";
      const before = pod.status?.conditions?.find(({ type }) => type === "Ready")?.status;
      if (pod.status?.phase === "Running" && before === ready) continue;
      const lastTransitionTime = new Date(clock.wallMs()).toISOString();
      const conditions = [
        ...(pod.status?.conditions ?? []).filter(({ type }) => type !== "Ready"),
        { type: "Ready", status: ready, lastTransitionTime } as const,
      ];
      const status = { ...pod.status, phase: "Running" as const, conditions, podIP: "127.0.0.11" };
      await resources.update(podKind, { ...pod, status }, { subresource: "status" });
    }
  };

  const agentLoop = async () => {
    for (;;) {
      await clock.sleep(agentPeriodMs);
      if (stopped) return;
      await actAsAgents();
    }
  };

  const cell: TestCell = {
    clock,
    random,
    resources,
    faults: noFaults,
    tolerances: new Map(),
    mayEvict: { allowed: true, because: "this server reaches most nodes" },
    becomesReady: () => true,
    setVerdict(node, verdict) {
      verdicts.set(node, verdict);
      sinceMs.set(node, clock.monotonicMs());
      for (const listener of listeners) listener(node);
    },
    setAgent: (node, agent) => void agents.set(node, agent),
    async pods(labelSelector) {
      return [...(await resources.list(podKind, { labelSelector })).items];
    },
    get: (kind, name) =>
      resources.get(kind, kind.namespaced ? { namespace: "default", name } : { name }),
    async addNode(name, fields = {}) {
      agents.set(name, "up");
      const node: Node = {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name, labels: { "kubernetes.io/hostname": name } },
        spec: {},
        status: { allocatable: { cpu: "4", memory: "4Gi", pods: "20" } },
        ...fields,
      };
      done(await resources.create(nodeKind, node));
    },
    apply: async (object) => done(await resources.create(deploymentKind, object)),
    async change(name, change) {
      const found = await cell.get(deploymentKind, name);
      if (!found) throw new Error(`no deployment ${name}`);
      const next = structuredClone(found);
      change(next);
      delete next.metadata.resourceVersion;
      done(await resources.update(deploymentKind, next));
    },
    async until(what, condition, withinMs = 60_000) {
      const limitMs = clock.monotonicMs() + withinMs;
      while (!(await condition())) {
        if (clock.monotonicMs() > limitMs) {
          const pods = (await cell.pods()).map(describe).join("\n  ");
          throw new Error(`waited ${withinMs} virtual ms for ${what}\n  ${pods}`);
        }
        await clock.advance(50);
      }
    },
    async changeLeader() {
      await cell.stopControllers();
      controllers = start();
    },
    async stopControllers() {
      const stopping = controllers.stop();
      await clock.advance(10);
      await stopping;
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      await cell.stopControllers();
      await clock.advance(agentPeriodMs * 2);
      await agenting;
      await ledger.close();
      await folder[Symbol.asyncDispose]();
    },
  };
  let controllers = start();
  const agenting = agentLoop();
  for (let index = 1; index <= (options.nodes ?? 3); index++) await cell.addNode(`n${index}`);
  return cell;
}

const describe = ({ metadata, spec, status }: Pod) =>
  `${metadata.name} on ${spec.nodeName ?? "-"} ${status?.phase} ${status?.reason ?? ""} ${metadata.deletionTimestamp ? "terminating" : ""} ${JSON.stringify(status?.conditions?.map(({ type, status: value, message }) => `${type}=${value} ${message ?? ""}`))}`;

/** A deployment whose pods need no port, so that several fit on a node. */
export function deploymentOf(
  name: string,
  replicas: number,
  spec: Partial<Deployment["spec"]> = {},
): Deployment {
  const base = plainDeployment(name, replicas);
  base.spec.template.spec.containers = [{ name: "main", image: "host" }];
  return { ...base, spec: { ...base.spec, ...spec } };
}

/** What `kubectl rollout status` waits for (kubernetes `DeploymentStatusViewer`). */
export function isRolledOut({ metadata, spec, status }: Deployment): boolean {
  const { updatedReplicas = 0, replicas = 0, availableReplicas = 0 } = status ?? {};
  return (
    (metadata.generation ?? 0) <= (status?.observedGeneration ?? 0) &&
    updatedReplicas >= (spec.replicas ?? 1) &&
    replicas <= updatedReplicas &&
    availableReplicas >= updatedReplicas
  );
}
