import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import type { Node, Pod } from "../../src/api/index.ts";
import { defaultDrivers } from "../../src/controllers/index.ts";
import { placePod } from "../../src/controllers/scheduler/plan.ts";
import { createUsage } from "../../src/controllers/scheduler/usage.ts";

const nodeOf = (
  name: string,
  fields: Partial<Node["spec"]> & {
    labels?: Record<string, string>;
    cpu?: number;
    memory?: string;
    ready?: "True" | "Unknown";
  } = {},
): Node => {
  const { labels = {}, cpu = 4, memory = "4Gi", ready, ...spec } = fields;
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels },
    spec,
    status: {
      allocatable: { cpu: String(cpu), memory, pods: "8" },
      ...(ready ? { conditions: [{ type: "Ready", status: ready, reason: "Test" }] } : {}),
    },
  };
};
let revision = 0;
const podOf = (
  name: string,
  spec: Partial<Pod["spec"]> = {},
  labels: Record<string, string> = {},
): Pod => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "default", uid: name, labels, resourceVersion: String(++revision) },
  spec: { containers: [{ name: "main" }], ...spec },
});
const place = (pod: Pod, nodes: Node[], there: Pod[] = []) => {
  const usage = createUsage((other) => defaultDrivers.hostPorts(other, nodes[0]!));
  for (const other of there) usage.put(other);
  const candidates = nodes.map((node) => ({ node, usage: usage.of(node.metadata.name) }));
  return placePod(pod, candidates, defaultDrivers);
};

/** Everything random pods and nodes are made of; small numbers make collisions likely. */
const nodeShape = fc.record({
  cpu: fc.integer({ min: 1, max: 4 }),
  disk: fc.constantFrom("ssd", "sd"),
  tainted: fc.boolean(),
  cordoned: fc.boolean(),
});
const podShape = fc.record({
  cpuMilli: fc.integer({ min: 0, max: 2500 }),
  disk: fc.option(fc.constantFrom("ssd", "sd")),
  tolerates: fc.boolean(),
  port: fc.option(fc.integer({ min: 1, max: 3 })),
  alone: fc.boolean(),
  app: fc.constantFrom("a", "b"),
});
type NodeShape = typeof nodeShape extends fc.Arbitrary<infer T> ? T : never;
type PodShape = typeof podShape extends fc.Arbitrary<infer T> ? T : never;

/** The oracle: rules read off the shapes, sums made anew from all pods each time. */
function fits(pod: PodShape, node: NodeShape, on: readonly PodShape[]): boolean {
  const cpu = on.reduce((sum, other) => sum + other.cpuMilli, 0) + pod.cpuMilli;
  return (
    cpu <= node.cpu * 1000 &&
    on.length < 8 &&
    (pod.disk === null || pod.disk === node.disk) &&
    (!node.tainted || pod.tolerates) &&
    !node.cordoned &&
    (pod.port === null || on.every((other) => other.port !== pod.port)) &&
    on.every((other) => !((pod.alone || other.alone) && other.app === pod.app))
  );
}

function podFrom(shape: PodShape, name: string): Pod {
  const antiAffinity = {
    podAntiAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: [
        {
          topologyKey: "kubernetes.io/hostname",
          labelSelector: { matchLabels: { app: shape.app } },
        },
      ],
    },
  };
  return podOf(
    name,
    {
      containers: [
        {
          name: "main",
          resources: { requests: { cpu: `${shape.cpuMilli}m` } },
          ...(shape.port === null ? {} : { ports: [{ containerPort: shape.port }] }),
        },
      ],
      ...(shape.disk === null ? {} : { nodeSelector: { disk: shape.disk } }),
      ...(shape.tolerates ? { tolerations: [{ key: "lab", operator: "Exists" as const }] } : {}),
      ...(shape.alone ? { affinity: antiAffinity } : {}),
    },
    { app: shape.app },
  );
}

test("C7: over random cells and sequences, never against the oracle and never refused what fits", () => {
  fc.assert(
    fc.property(
      fc.array(nodeShape, { minLength: 1, maxLength: 4 }),
      fc.array(fc.record({ pod: podShape, leaves: fc.option(fc.nat()) }), {
        minLength: 15,
        maxLength: 40,
      }),
      (shapes, steps) => {
        const nodes = shapes.map((shape, index) =>
          nodeOf(`n${index}`, {
            cpu: shape.cpu,
            labels: { disk: shape.disk },
            taints: shape.tainted ? [{ key: "lab", effect: "NoSchedule" }] : [],
            unschedulable: shape.cordoned,
          }),
        );
        const usage = createUsage((pod) => defaultDrivers.hostPorts(pod, nodes[0]!));
        const placed: { pod: Pod; shape: PodShape; node: number }[] = [];
        const on = (node: number) =>
          placed.filter((entry) => entry.node === node).map(({ shape }) => shape);
        for (const [index, step] of steps.entries()) {
          const gone =
            step.leaves === null ? undefined : placed[step.leaves % Math.max(1, placed.length)];
          if (gone) {
            usage.remove(gone.pod);
            placed.splice(placed.indexOf(gone), 1);
          }
          const pod = podFrom(step.pod, `p${index}`);
          const candidates = nodes.map((node) => ({ node, usage: usage.of(node.metadata.name) }));
          const placement = placePod(pod, candidates, defaultDrivers);
          const possible = shapes.flatMap((shape, node) =>
            fits(step.pod, shape, on(node)) ? [node] : [],
          );
          if (placement.state === "unschedulable") {
            assert.deepEqual(possible, [], placement.message);
            continue;
          }
          const node = Number(placement.node.slice(1));
          assert.ok(possible.includes(node), `p${index} on ${placement.node}`);
          const bound = { ...pod, spec: { ...pod.spec, nodeName: placement.node } };
          usage.assume(bound, placement.node);
          // The cache shows it later, and twice: it must count once.
          usage.put(bound);
          placed.push({ pod: bound, shape: step.pod, node });
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("C7: reasons are words, gathered over the nodes they hold for", () => {
  const nodes = [
    nodeOf("a", { unschedulable: true }),
    nodeOf("b", { taints: [{ key: "gpu", value: "yes", effect: "NoSchedule" }] }),
    nodeOf("c", { ready: "Unknown" }),
    nodeOf("d", { memory: "512Mi" }),
    nodeOf("e", { memory: "512Mi" }),
  ];
  const placement = place(
    podOf("p", { containers: [{ name: "m", resources: { requests: { memory: "1Gi" } } }] }),
    nodes,
  );
  assert.deepEqual(placement, {
    state: "unschedulable",
    message:
      "0 of 5 nodes can take the pod. a: the node is cordoned. b: the node has the taint gpu=yes:NoSchedule, which the pod does not tolerate. c: the node is not ready (Test). d, e: not enough memory: the pod asks for 1Gi, 512Mi of 512Mi is free",
  });
  assert.deepEqual(place(podOf("p"), []), {
    state: "unschedulable",
    message: "there is no node in the cell",
  });
});

test("C7: an unknown runtime class and a taken port are named", () => {
  const strange = place(podOf("p", { runtimeClassName: "kata" }), [nodeOf("a")]);
  assert.match(strange.state === "unschedulable" ? strange.message : "", /runtimeClassName kata/);
  const podman = place(podOf("p", { runtimeClassName: "podman" }), [nodeOf("a")]);
  assert.match(podman.state === "unschedulable" ? podman.message : "", /podman/);
  const ports = { containers: [{ name: "m", ports: [{ containerPort: 8080 }] }] };
  const there = podOf("q", { ...ports, nodeName: "a" });
  const taken = place(podOf("p", ports), [nodeOf("a")], [there]);
  assert.match(taken.state === "unschedulable" ? taken.message : "", /port 8080\/TCP is taken/);
});

test("node affinity: required terms are alternatives, preferred ones outweigh spreading", () => {
  const nodes = [
    nodeOf("a", { labels: { zone: "x", size: "2" } }),
    nodeOf("b", { labels: { zone: "y", size: "8" } }),
  ];
  const required = (operator: "In" | "Gt", key: string, values: string[]) => ({
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key, operator, values }] }],
        },
      },
    },
  });
  assert.deepEqual(place(podOf("p", required("In", "zone", ["y"])), nodes), {
    state: "placed",
    node: "b",
  });
  assert.deepEqual(place(podOf("p", required("Gt", "size", ["4"])), nodes), {
    state: "placed",
    node: "b",
  });
  assert.equal(place(podOf("p", required("In", "zone", ["z"])), nodes).state, "unschedulable");
  const preferred = {
    affinity: {
      nodeAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          {
            weight: 10,
            preference: {
              matchExpressions: [{ key: "zone", operator: "In" as const, values: ["y"] }],
            },
          },
        ],
      },
    },
  };
  const crowd = [1, 2, 3].map((index) => podOf(`q${index}`, { nodeName: "b" }));
  assert.deepEqual(place(podOf("p", preferred), nodes, crowd), { state: "placed", node: "b" });
});

test("pod affinity: the first of a group may start anywhere, the next follows it", () => {
  const together = {
    affinity: {
      podAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          { topologyKey: "kubernetes.io/hostname", labelSelector: { matchLabels: { app: "db" } } },
        ],
      },
    },
  };
  const nodes = [nodeOf("a"), nodeOf("b")];
  const db = podOf("db", together, { app: "db" });
  assert.equal(place(db, nodes).state, "placed");
  assert.equal(place(podOf("web", together, { app: "web" }), nodes).state, "unschedulable");
  const there = podOf("db", { nodeName: "b" }, { app: "db" });
  assert.deepEqual(place(podOf("web", together, { app: "web" }), nodes, [there]), {
    state: "placed",
    node: "b",
  });
});
