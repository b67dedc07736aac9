/** Kinds: what ordinary manifests carry is accepted, what is wrong is named, columns read as kubectl's. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  checkObject,
  deploymentKind,
  endpointsKind,
  eventKind,
  ingressKind,
  kindByObject,
  kindByResource,
  kinds,
  nodeKind,
  onPartitionOf,
  podKind,
  podStatusText,
  pruneFields,
  scaleOf,
  serviceKind,
  structureOf,
  type KindDefinition,
  type KubeObject,
  type Pod,
} from "../../src/api/index.ts";
import { deployment, pod } from "../support/resources.ts";
import { node } from "../contract/resources.ts";

const nowMs = Date.UTC(2026, 5, 1, 12);
const ago = (ms: number) => new Date(nowMs - ms).toISOString();

function issuesOf(kind: KindDefinition, value: unknown, previous?: KubeObject): string[] {
  const checked = checkObject(kind, value, previous);
  return checked.ok ? [] : checked.issues.map(({ field, message }) => `${field}: ${message}`);
}

function cellsOf<T extends KubeObject>(kind: KindDefinition<T>, object: T, wide = false) {
  return Object.fromEntries(
    kind.columns
      .filter((column) => wide || !column.wide)
      .map((column) => [column.name, column.cell(object, nowMs)]),
  );
}

const fullDeployment = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web", namespace: "default", creationTimestamp: null, labels: { app: "web" } },
  spec: {
    replicas: 2,
    revisionHistoryLimit: 3,
    selector: { matchLabels: { app: "web" } },
    strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: "25%" } },
    template: {
      metadata: {
        creationTimestamp: null,
        labels: { app: "web" },
        annotations: { "skerry.dev/on-partition": "stop", "prometheus.io/scrape": "true" },
      },
      spec: {
        runtimeClassName: "process",
        terminationGracePeriodSeconds: 5,
        securityContext: { runAsNonRoot: true, fsGroup: 1000 },
        nodeSelector: { "kubernetes.io/arch": "amd64" },
        tolerations: [{ key: "a", operator: "Exists", effect: "NoExecute", tolerationSeconds: 3 }],
        topologySpreadConstraints: [
          {
            maxSkew: 1,
            topologyKey: "kubernetes.io/hostname",
            whenUnsatisfiable: "ScheduleAnyway",
            labelSelector: { matchLabels: { app: "web" } },
          },
        ],
        affinity: {
          podAntiAffinity: {
            preferredDuringSchedulingIgnoredDuringExecution: [
              {
                weight: 100,
                podAffinityTerm: {
                  topologyKey: "kubernetes.io/hostname",
                  labelSelector: {
                    matchExpressions: [{ key: "app", operator: "In", values: ["web"] }],
                  },
                },
              },
            ],
          },
        },
        containers: [
          {
            name: "main",
            image: "host",
            command: ["node", "server.js"],
            env: [
              { name: "PORT", value: "8080" },
              { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
              { name: "MODE", valueFrom: { configMapKeyRef: { name: "c", key: "mode" } } },
            ],
            ports: [{ name: "http", containerPort: 8080 }],
            resources: { limits: { cpu: 1, memory: "64Mi" }, requests: { cpu: "100m" } },
            readinessProbe: { httpGet: { path: "/ready", port: "http" }, periodSeconds: 2 },
            livenessProbe: { exec: { command: ["true"] } },
            lifecycle: { preStop: { exec: { command: ["sleep", "1"] } } },
            volumeMounts: [{ name: "config", mountPath: "/etc/app" }],
            securityContext: { capabilities: { drop: ["ALL"] }, readOnlyRootFilesystem: true },
          },
        ],
        volumes: [{ name: "config", configMap: { name: "c" } }],
      },
    },
  },
  status: {},
};

test("what an ordinary manifest carries is accepted and completed", () => {
  const checked = checkObject(deploymentKind, fullDeployment);
  assert.ok(checked.ok, JSON.stringify(checked));
  assert.deepEqual(checked.unknown, []);
  const { spec } = checked.object.spec.template;
  assert.equal(spec.restartPolicy, "Always");
  assert.equal(spec.containers[0]?.ports?.[0]?.protocol, "TCP");
  assert.equal(spec.containers[0]?.readinessProbe?.failureThreshold, 3);
  assert.deepEqual(spec.containers[0]?.resources?.requests, { cpu: "100m", memory: "64Mi" });
  assert.equal("creationTimestamp" in checked.object.metadata, false);
  assert.equal(
    onPartitionOf({ metadata: { name: "", ...checked.object.spec.template.metadata } }),
    "stop",
  );
});

test("defaults are stable: completing what is complete changes nothing", () => {
  const once = checkObject(deploymentKind, fullDeployment);
  assert.ok(once.ok);
  const twice = checkObject(deploymentKind, structuredClone(once.object), once.object);
  assert.ok(twice.ok);
  assert.deepEqual(twice.object, once.object);
});

test("unknown fields are named by their path, apart from other problems", () => {
  const wrong = structuredClone(fullDeployment);
  Object.assign(wrong.spec, { replica: 3 });
  Object.assign(wrong.spec.template.spec.containers[0] ?? {}, { imagee: "x" });
  const { unknown, value } = pruneFields(deploymentKind, wrong);
  assert.deepEqual(unknown, ["spec.template.spec.containers[0].imagee", "spec.replica"]);
  assert.equal(JSON.stringify(value).includes("imagee"), false);
});

test("a wrong field is named with what was given and what is allowed", () => {
  const wrong = deployment("web");
  Object.assign(wrong.spec, { replicas: -1 });
  assert.match(issuesOf(deploymentKind, wrong)[0] ?? "", /^spec\.replicas: -1: .*>=0/);
  Object.assign(wrong.spec, { replicas: "three" });
  assert.match(issuesOf(deploymentKind, wrong)[0] ?? "", /^spec\.replicas: "three": expected/);
  Object.assign(wrong.spec, { replicas: 1 });
  const [container] = wrong.spec.template.spec.containers;
  Object.assign(container ?? {}, { resources: { requests: { memory: "64Mo" } } });
  assert.match(
    issuesOf(deploymentKind, wrong)[0] ?? "",
    /^spec\.template\.spec\.containers\[0\]\.resources\.requests\.memory: "64Mo": .*quantity/,
  );
});

test("names, labels, annotations and namespaces are checked", () => {
  const bad = (metadata: object) =>
    issuesOf(podKind, { ...pod("a"), metadata: { name: "a", namespace: "default", ...metadata } });
  assert.match(
    bad({ name: "Bad_Name" })[0] ?? "",
    /^metadata\.name: "Bad_Name" must be lower case/,
  );
  assert.match(bad({ labels: { "a b": "x" } })[0] ?? "", /^metadata\.labels: "a b"/);
  assert.match(bad({ labels: { app: "a b" } })[0] ?? "", /^metadata\.labels\[app\]/);
  assert.match(bad({ namespace: undefined })[0] ?? "", /^metadata\.namespace: Pod needs/);
  assert.match(
    bad({ annotations: { "skerry.dev/on-partition": "maybe" } })[0] ?? "",
    /keep or stop/,
  );
  assert.match(
    issuesOf(nodeKind, { ...node("n1"), metadata: { name: "n1", namespace: "x" } })[0] ?? "",
    /belongs to the whole cell/,
  );
});

test("rules across fields", () => {
  const twoProbes = pod("a");
  const [container] = twoProbes.spec.containers;
  Object.assign(container ?? {}, {
    livenessProbe: { exec: { command: ["true"] }, tcpSocket: { port: 1 } },
    volumeMounts: [{ name: "nowhere", mountPath: "/x" }],
    resources: { requests: { cpu: 2 }, limits: { cpu: 1 } },
  });
  const issues = issuesOf(podKind, twoProbes).join("\n");
  assert.match(issues, /livenessProbe: needs exactly one/);
  assert.match(issues, /"nowhere" is not among spec\.volumes/);
  assert.match(issues, /2 is above the limit of 1/);

  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "default" },
    spec: { ports: [{ port: 80 }, { port: 80 }] },
  };
  assert.match(issuesOf(serviceKind, service).join("\n"), /80\/TCP is there already/);
  const ingress = {
    apiVersion: "networking.k8s.io/v1",
    kind: "Ingress",
    metadata: { name: "web", namespace: "default" },
    spec: {
      rules: [
        {
          http: {
            paths: [{ path: "x", pathType: "Prefix", backend: { service: { name: "web" } } }],
          },
        },
      ],
    },
  };
  const ingressIssues = issuesOf(ingressKind, ingress).join("\n");
  assert.match(ingressIssues, /paths\[0\]\.path: "x" must start with "\/"/);
  assert.match(ingressIssues, /backend\.service\.port: needs either/);
});

test("a pod's spec stays as it is, its node is set once", () => {
  const before = checkObject(podKind, pod("a"));
  assert.ok(before.ok);
  const change = (edit: (next: Pod) => void) => {
    const next = structuredClone(before.object);
    edit(next);
    return issuesOf(podKind, next, before.object);
  };
  assert.deepEqual(
    change((next) => (next.spec.nodeName = "n1")),
    [],
  );
  assert.deepEqual(
    change((next) => Object.assign(next.spec.containers[0] ?? {}, { image: "b" })),
    [],
  );
  assert.match(
    change((next) => (next.spec.restartPolicy = "Never"))[0] ?? "",
    /^spec: may not change/,
  );
  const placed = structuredClone(before.object);
  placed.spec.nodeName = "n1";
  const moved = structuredClone(placed);
  moved.spec.nodeName = "n2";
  assert.match(issuesOf(podKind, moved, placed)[0] ?? "", /is on n1 and cannot move to "n2"/);
});

test("columns read as kubectl's", () => {
  const web = {
    ...deployment("web", 3),
    status: { readyReplicas: 2, updatedReplicas: 3, availableReplicas: 2 },
  };
  web.metadata.creationTimestamp = ago(90_000);
  assert.deepEqual(cellsOf(deploymentKind, web), {
    Name: "web",
    Ready: "2/3",
    "Up-to-date": 3,
    Available: 2,
    Age: "90s",
  });
  const running: Pod = {
    ...pod("a", { nodeName: "n1" }),
    status: {
      phase: "Running",
      podIP: "127.0.0.11",
      containerStatuses: [
        {
          name: "main",
          ready: true,
          restartCount: 2,
          image: "host",
          imageID: "",
          state: { running: {} },
          lastState: { terminated: { exitCode: 1, finishedAt: ago(300_000) } },
        },
      ],
    },
  };
  running.metadata.creationTimestamp = ago(3_600_000);
  assert.deepEqual(cellsOf(podKind, running, true), {
    Name: "a",
    Ready: "1/1",
    Status: "Running",
    Restarts: "2 (5m ago)",
    Age: "60m",
    IP: "127.0.0.11",
    Node: "n1",
    "Nominated Node": "<none>",
    "Readiness Gates": "<none>",
  });
  const n1 = node("n1");
  n1.metadata.labels = { "node-role.kubernetes.io/control-plane": "" };
  n1.spec = { unschedulable: true };
  n1.status = {
    ...n1.status,
    conditions: [{ type: "Ready", status: "True" }],
    nodeInfo: { kubeletVersion: "v0.1.0" },
  };
  assert.deepEqual(cellsOf(nodeKind, n1), {
    Name: "n1",
    Status: "Ready,SchedulingDisabled",
    Roles: "control-plane",
    Age: "<unknown>",
    Version: "v0.1.0",
  });
  assert.equal(
    cellsOf(endpointsKind, {
      apiVersion: "v1",
      kind: "Endpoints",
      metadata: { name: "web" },
      subsets: [
        { addresses: [1, 2, 3, 4].map((n) => ({ ip: `10.0.0.${n}` })), ports: [{ port: 80 }] },
      ],
    })["Endpoints"],
    "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more...",
  );
});

test("a pod's status says why it waits, ended or goes", () => {
  const state = (status: object, deleting = false): Pod => ({
    ...pod("a"),
    metadata: { name: "a", ...(deleting ? { deletionTimestamp: ago(0) } : {}) },
    status: {
      phase: "Pending",
      containerStatuses: [
        { name: "main", ready: false, restartCount: 0, image: "", imageID: "", state: status },
      ],
    },
  });
  assert.equal(
    podStatusText(state({ waiting: { reason: "CrashLoopBackOff" } })),
    "CrashLoopBackOff",
  );
  assert.equal(podStatusText(state({ terminated: { exitCode: 3 } })), "ExitCode:3");
  assert.equal(podStatusText(state({ terminated: { exitCode: 137, signal: 9 } })), "Signal:9");
  assert.equal(podStatusText(state({}, true)), "Terminating");
});

test("the scale view", () => {
  const scale = scaleOf({ ...deployment("web", 4), status: { replicas: 3 } } as KubeObject);
  assert.deepEqual(
    [scale.spec, scale.status],
    [{ replicas: 4 }, { replicas: 3, selector: "app=web" }],
  );
});

test("every kind is complete and found by resource and by object", () => {
  assert.equal(kinds.length, 14);
  for (const kind of kinds) {
    assert.equal(kindByResource(kind.group, kind.version, kind.plural), kind);
    const apiVersion = kind.group === "" ? kind.version : `${kind.group}/${kind.version}`;
    assert.equal(kindByObject(apiVersion, kind.kind), kind);
    const structure = structureOf(kind.schema);
    assert.equal(structure.type, "object");
    assert.ok(structure.type === "object" && structure.fields.has("metadata"));
    assert.ok(kind.columns.length >= 2, kind.kind);
  }
  assert.equal(kindByResource("apps", "v1", "daemonsets"), undefined);
  assert.deepEqual(
    Object.keys(
      eventKind.fieldValues({
        apiVersion: "v1",
        kind: "Event",
        metadata: { name: "" },
        involvedObject: {},
      }),
    ).includes("involvedObject.name"),
    true,
  );
});

const stopping = (annotations: Record<string, string>) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "one", namespace: "default", annotations },
  spec: { containers: [{ name: "main", image: "host" }], nodeName: "n1" },
  status: { phase: "Running" },
});

test("rule F: what a pod wants under a partition is checked, and by its claims and devices else", () => {
  const refusedFor = (annotations: Record<string, string>) => {
    const checked = checkObject(podKind, stopping(annotations));
    return checked.ok ? undefined : checked.issues.map(({ message }) => message).join();
  };
  assert.equal(refusedFor({ "skerry.dev/on-partition": "stop" }), undefined);
  assert.equal(refusedFor({ "skerry.dev/partition-ttl": "8s" }), undefined);
  assert.match(refusedFor({ "skerry.dev/on-partition": "pause" }) ?? "", /"pause".*keep or stop/);
  assert.match(refusedFor({ "skerry.dev/partition-ttl": "soon" }) ?? "", /"soon".*5s to 10m/);
  assert.match(refusedFor({ "skerry.dev/partition-ttl": "1s" }) ?? "", /"1s".*5s to 10m/);
  const withSpec = (spec: object) => ({ spec: { containers: [], ...spec } });
  assert.equal(onPartitionOf(withSpec({})), "keep");
  const claim = { volumes: [{ name: "d", persistentVolumeClaim: { claimName: "d" } }] };
  assert.equal(onPartitionOf(withSpec(claim)), "stop");
  const kept = { metadata: { annotations: { "skerry.dev/on-partition": "keep" } } };
  assert.equal(onPartitionOf({ ...withSpec(claim), ...kept }), "keep");
  const device = { name: "a", image: "host", resources: { limits: { "vendor/gpu": "1" } } };
  assert.equal(onPartitionOf(withSpec({ containers: [device] })), "stop");
});

test("rule F: what two sides count by does not change on a node, and an end is final", () => {
  const before = checkObject(podKind, stopping({ "skerry.dev/on-partition": "stop" }));
  assert.ok(before.ok);
  const stands = before.object;
  const issuesOf = (change: (pod: typeof stands) => void) => {
    const next = structuredClone(stands);
    change(next);
    const checked = checkObject(podKind, next, stands);
    return checked.ok ? [] : checked.issues.map(({ field }) => field);
  };
  const on = "metadata.annotations[skerry.dev/on-partition]";
  assert.deepEqual(
    issuesOf((pod) => void delete pod.metadata.annotations),
    [on],
  );
  assert.deepEqual(
    issuesOf((pod) => void (pod.spec.terminationGracePeriodSeconds = 1)),
    ["spec.terminationGracePeriodSeconds"],
  );
  assert.deepEqual(
    issuesOf((pod) => void (pod.status = { phase: "Failed" })),
    [],
  );
  stands.status = { phase: "Failed" };
  assert.deepEqual(
    issuesOf((pod) => void (pod.status = { phase: "Running" })),
    ["status.phase"],
  );
});
