/** An unmodified kubectl, whatever version is on PATH, against the cell API on a real ledger. */
import { strict as assert } from "node:assert";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { CoreV1Api, KubeConfig, makeInformer, type V1ConfigMap } from "@kubernetes/client-node";
import {
  deploymentKind,
  eventKind,
  nodeKind,
  podKind,
  streamKind,
  type Deployment,
  type Pod,
} from "../../src/api/index.ts";
import type { PodLogs } from "../../src/apiserver/index.ts";
import { kubectlFor, startCell, type Kubectl, type TestCell } from "../support/apiserver.ts";
import { waitFor } from "../support/wait.ts";

let cell: TestCell;
let kubectl: Kubectl;
let followed = 0;
let podWatches = 0;

/** Ten lines; a follower gets one more and then waits until it goes. */
const podLogs: PodLogs = {
  async *read({ namespace, name, container }, options) {
    const lines = Array.from({ length: 10 }, (_, index) => `${namespace}/${name} line ${index}\n`);
    const tail = options.tailLines ?? lines.length;
    if (options.previous) lines.push(`previous ${container}\n`);
    for (const line of lines.slice(-tail || lines.length)) yield Buffer.from(line);
    if (!options.follow) return;
    followed++;
    yield Buffer.from("followed\n");
    await new Promise<void>((resolve) => {
      options.signal.addEventListener("abort", () => resolve(), { once: true });
    });
    followed--;
  },
};

before(async () => {
  cell = await startCell({
    podLogs,
    resources: (plain) => ({
      ...plain,
      watch(kind, options) {
        if (kind.kind === "Pod") podWatches++;
        return plain.watch(kind, options);
      },
    }),
  });
  kubectl = await kubectlFor(cell);
});
after(async () => {
  await cell[Symbol.asyncDispose]();
  assert.deepEqual(cell.errors, []);
});

/** Debian 12's 1.20 asks OpenAPI v2 (which is empty here) for what later ones find in v3. */
const readsOpenApiV3 = () => kubectl.minor >= 27;

const manifests = (options: { replicas: number; value: string; keep: string }) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {app: shop}}
spec:
  replicas: ${options.replicas}
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      runtimeClassName: process
      containers:
      - {name: shop, image: host, command: [node, server.js], env: [{name: A, value: "${options.value}"}]}
---
{apiVersion: v1, kind: Service, metadata: {name: shop}, spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec: {rules: [{host: shop.local, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}]}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: shop}, data: {a: "${options.value}"}}
---
{apiVersion: skerry.dev/v1alpha1, kind: Stream, metadata: {name: telemetry}, spec: {egress: {keep: [${options.keep}]}}}
`;
const first = manifests({ replicas: 2, value: "1", keep: "cpu" });
const second = manifests({ replicas: 3, value: "2", keep: "memory" });
const results = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => line.split(" ").at(-1));

async function done<T>(write: Promise<{ state: string } & { object?: T }>): Promise<T> {
  const result = await write;
  assert.equal(result.state, "done", JSON.stringify(result));
  return result.object as T;
}

async function makePod(name: string, nodeName = "n1"): Promise<Pod> {
  const created = await done(
    cell.resources.create(podKind, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: "default", labels: { app: name } },
      spec: { nodeName, containers: [{ name: "main", image: "host", command: ["true"] }] },
    }),
  );
  return done(setReady(created));
}

const setReady = (pod: Pod) =>
  cell.resources.update(
    podKind,
    {
      ...pod,
      status: {
        phase: "Running",
        podIP: "127.0.0.11",
        conditions: [{ type: "Ready", status: "True" }],
        containerStatuses: [
          { name: "main", ready: true, restartCount: 1, image: "host", imageID: "" },
        ],
      },
    },
    { subresource: "status" },
  );

test("K1: apply creates, then changes nothing, then only what changed", async () => {
  const apply = (input: string) => kubectl.ok(["apply", "-f", "-"], { input });
  assert.deepEqual(results(await apply(first)), Array(5).fill("created"));
  assert.deepEqual(results(await apply(first)), Array(5).fill("unchanged"));
  const changed = results(await apply(second));
  assert.deepEqual(changed, ["configured", "unchanged", "unchanged", "configured", "configured"]);
  const stream = await cell.resources.get(streamKind, { name: "telemetry" });
  assert.deepEqual(stream?.spec?.egress, { keep: ["memory"] });
});

test("K2: get as table, wide, yaml, name and by label", async () => {
  await makePod("lone");
  const table = await kubectl.ok(["get", "deployments"]);
  assert.match(table, /^NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nshop +0\/3 +0 +0 +\d+s\n$/);
  const wide = await kubectl.ok(["get", "pods", "lone", "-o", "wide"]);
  assert.match(wide, /^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE/);
  assert.match(wide, /lone +1\/1 +Running +1 .*127\.0\.0\.11 +n1/);
  const yaml = await kubectl.ok(["get", "pod", "lone", "-o", "yaml"]);
  assert.match(yaml, /^apiVersion: v1\nkind: Pod\n/);
  assert.equal(await kubectl.ok(["get", "service", "-o", "name"]), "service/shop\n");
  assert.equal(await kubectl.ok(["get", "po", "-l", "app=lone", "-o", "name"]), "pod/lone\n");
  const byNode = ["get", "po", "-A", "--field-selector", "spec.nodeName=n2", "-o", "name"];
  assert.equal(await kubectl.ok(byNode), "");
  const missing = await kubectl.run(["get", "pod", "nobody"]);
  assert.match(missing.stderr, /Error from server \(NotFound\): pods "nobody" not found/);
});

test("K3: get -w follows in rows, and ends when it is told to", async () => {
  const watch = kubectl.start(["get", "configmaps", "-w", "--output-watch-events"]);
  await waitFor(() => watch.output().includes("shop"), { what: "the first row" });
  await kubectl.ok(["create", "configmap", "watched", "--from-literal=k=v"]);
  await kubectl.ok(["delete", "configmap", "watched"]);
  await waitFor(() => /DELETED +watched +1/.test(watch.output()), { what: "the deletion" });
  assert.match(watch.output(), /ADDED +watched +1/);
  watch.kill("SIGINT");
  await once(watch, "exit");
});

test("K4: scale, patch, set image, label, annotate and edit", async () => {
  const stored = async () => {
    const found = await cell.resources.get(deploymentKind, { namespace: "default", name: "shop" });
    assert.ok(found);
    return found;
  };
  await kubectl.ok(["scale", "deployment", "shop", "--replicas", "5"]);
  assert.equal((await stored()).spec.replicas, 5);
  await kubectl.ok(["scale", "deploy", "shop", "--current-replicas", "5", "--replicas", "4"]);
  assert.equal((await stored()).spec.replicas, 4);
  const image = { spec: { template: { spec: { containers: [{ name: "shop", image: "two" }] } } } };
  await kubectl.ok(["patch", "deploy", "shop", "-p", JSON.stringify(image)]);
  const [container] = (await stored()).spec.template.spec.containers;
  assert.deepEqual([container?.image, container?.env?.[0]?.value], ["two", "2"]);
  await kubectl.ok(["set", "image", "deploy/shop", "shop=three"]);
  assert.equal((await stored()).spec.template.spec.containers[0]?.image, "three");
  const json = [{ op: "replace", path: "/spec/replicas", value: 1 }];
  await kubectl.ok(["patch", "deploy", "shop", "--type", "json", "-p", JSON.stringify(json)]);
  assert.equal((await stored()).spec.replicas, 1);
  await kubectl.ok(["label", "deploy", "shop", "tier=front", "app-"]);
  await kubectl.ok(["annotate", "deploy", "shop", "note=hello"]);
  const { labels, annotations } = (await stored()).metadata;
  assert.deepEqual([labels, annotations?.["note"]], [{ tier: "front" }, "hello"]);
  await kubectl.ok(["edit", "deploy", "shop"], { editor: "sed -i s/image:.three/image:\\ four/" });
  assert.equal((await stored()).spec.template.spec.containers[0]?.image, "four");
  await kubectl.ok(["rollout", "restart", "deploy/shop"]);
});

test("K5: our own kinds refuse strategic merge and take merge patches", async () => {
  const patch = JSON.stringify({ spec: { durability: "hub" } });
  const refused = await kubectl.run(["patch", "stream", "telemetry", "-p", patch]);
  assert.match(refused.stderr, /merge-patch\+json/);
  await kubectl.ok(["patch", "stream", "telemetry", "--type", "merge", "-p", patch]);
  const stream = await cell.resources.get(streamKind, { name: "telemetry" });
  assert.equal(stream?.spec?.durability, "hub");
});

test("K6: server-side apply owns fields, names conflicts, and may force", async () => {
  const map = (value: string) =>
    JSON.stringify({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "owned" },
      data: { value },
    });
  const apply = (manager: string, value: string, ...more: string[]) =>
    kubectl.run(["apply", "--server-side", "--field-manager", manager, ...more, "-f", "-"], {
      input: map(value),
    });
  assert.equal((await apply("one", "1")).code, 0);
  const conflict = await apply("two", "2");
  assert.match(conflict.stderr, /conflict with "one".*\.data\.value/s);
  assert.equal((await apply("two", "2", "--force-conflicts")).code, 0);
  assert.equal(await kubectl.ok(["get", "cm", "owned", "-o", "jsonpath={.data.value}"]), "2");
});

test("K7: diff shows what apply would change", async () => {
  await kubectl.ok(["apply", "-f", "-"], { input: first });
  const { code, stdout, stderr } = await kubectl.run(["diff", "-f", "-"], { input: second });
  if (readsOpenApiV3()) {
    assert.equal(code, 1, stderr);
    assert.match(stdout, /-  replicas: 2\n\+  replicas: 3/);
  } else assert.match(stderr, /doesn't support dry-run/);
  const kept = await kubectl.ok(["get", "deploy", "shop", "-o", "jsonpath={.spec.replicas}"]);
  assert.equal(kept, "2");
});

test("K8: a field that does not exist, or of the wrong type, is named", async () => {
  const bad = `---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: bad}, spec: {replicass: 2, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: host}]}}}}`;
  const create = (...more: string[]) => kubectl.run(["create", "-f", "-", ...more], { input: bad });
  if (readsOpenApiV3()) {
    const strict = await create();
    assert.notEqual(strict.code, 0);
    assert.match(strict.stderr, /spec\.replicass/);
    const warned = await create("--validate=warn");
    assert.match(warned.stderr, /Warning: unknown field "spec\.replicass"/);
    assert.equal(warned.code, 0);
  } else {
    const warned = await create("--validate=false");
    assert.match(warned.stderr, /Warning: unknown field "spec\.replicass"/);
  }
  const input = bad.replace("replicass: 2", 'replicas: "two"').replace("name: bad", "name: worse");
  const typed = await kubectl.run(["create", "--validate=false", "-f", "-"], { input });
  assert.match(typed.stderr, /spec\.replicas: "two"/);
});

test("K9: logs, their tail, following, and whose", async () => {
  await makePod("talker");
  const all = await kubectl.ok(["logs", "talker"]);
  assert.equal(all.trim().split("\n").length, 10);
  assert.equal(await kubectl.ok(["logs", "talker", "--tail", "1"]), "default/talker line 9\n");
  assert.match(await kubectl.ok(["logs", "talker", "-c", "main", "--previous"]), /previous main/);
  const wrong = await kubectl.run(["logs", "talker", "-c", "other"]);
  assert.match(wrong.stderr, /container "?other"? is not valid for pod "?talker"?/);
  const follow = kubectl.start(["logs", "-f", "talker"]);
  await waitFor(() => follow.output().includes("followed"), { what: "the followed line" });
  assert.equal(followed, 1);
  follow.kill("SIGINT");
  await once(follow, "exit");
  await waitFor(() => followed === 0, { what: "the log to be let go" });
});

test("K10: rollout status waits for the status that controllers write", async () => {
  const key = { namespace: "default", name: "shop" };
  const rollout = kubectl.start(["rollout", "status", "deploy/shop"]);
  await waitFor(() => rollout.output().includes("Waiting"), { what: "rollout status to wait" });
  const deployment = await cell.resources.get(deploymentKind, key);
  assert.ok(deployment);
  const status: Deployment["status"] = {
    observedGeneration: deployment.metadata.generation,
    replicas: 2,
    updatedReplicas: 2,
    readyReplicas: 2,
    availableReplicas: 2,
  };
  const exited = once(rollout, "close");
  const update = cell.resources.update(
    deploymentKind,
    { ...deployment, status },
    { subresource: "status" },
  );
  await done(update);
  const [code] = await exited;
  assert.equal(code, 0, rollout.output());
  assert.match(rollout.output(), /successfully rolled out/);
});

test("K11: wait for a condition and for the end", async () => {
  const pod = await makePod("waited");
  await kubectl.ok(["wait", "--for=condition=Ready", "pod/waited", "--timeout=60s"]);
  await kubectl.ok(["delete", "pod", "waited", "--wait=false"]);
  const ending = await cell.resources.get(podKind, { namespace: "default", name: "waited" });
  assert.ok(ending?.metadata.deletionTimestamp, "its node has to confirm");
  const watchesBefore = podWatches;
  const waiting = kubectl.start(["wait", "--for=delete", "pod/waited", "--timeout=60s"]);
  await waitFor(() => podWatches > watchesBefore, { what: "kubectl to watch the pod" });
  const exited = once(waiting, "close");
  const confirm = cell.resources.delete(
    podKind,
    { namespace: "default", name: "waited" },
    { gracePeriodSeconds: 0, preconditions: { uid: pod.metadata.uid } },
  );
  await done(confirm);
  const [code] = await exited;
  assert.equal(code, 0, waiting.output());
});

test("K12: describe shows an object with its events", async () => {
  const pod = await makePod("described");
  const event = cell.resources.create(eventKind, {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: "described.1", namespace: "default" },
    involvedObject: {
      kind: "Pod",
      name: "described",
      namespace: "default",
      uid: pod.metadata.uid,
    },
    type: "Normal",
    reason: "Pulled",
    message: "nothing to pull",
    count: 1,
    firstTimestamp: "2026-01-01T00:00:00Z",
    lastTimestamp: "2026-01-01T00:00:00Z",
  });
  await done(event);
  const text = await kubectl.ok(["describe", "pod", "described"]);
  assert.match(text, /Node: +n1/);
  assert.match(text, /Pulled .* nothing to pull/);
  assert.match(await kubectl.ok(["get", "events"]), /Pulled +pod\/described +nothing to pull/);
});

test("K13: create sends protobuf where kubectl likes it, and loses nothing", async () => {
  await kubectl.ok(["create", "namespace", "made"]);
  const literals = ["--from-literal=a=1", "--from-literal=empty="];
  await kubectl.ok(["create", "configmap", "made", "-n", "made", ...literals]);
  const data = await kubectl.ok(["get", "cm", "made", "-n", "made", "-o", "jsonpath={.data}"]);
  assert.deepEqual(JSON.parse(data), { a: "1", empty: "" });
  const image = ["--image=host", "--replicas=0", "--port=8080"];
  await kubectl.ok(["create", "deployment", "made", "-n", "made", ...image, "--", "sleep", "9"]);
  const key = { namespace: "made", name: "made" };
  const made = await cell.resources.get(deploymentKind, key);
  assert.equal(made?.spec.replicas, 0);
  assert.deepEqual(made?.spec.template.spec.containers[0]?.command, ["sleep", "9"]);
  assert.equal(made?.spec.template.spec.containers[0]?.ports?.[0]?.containerPort, 8080);
  const rule = "--rule=made.local/*=made:80";
  await kubectl.ok(["create", "ingress", "made", "-n", "made", rule]);
  await kubectl.ok(["create", "service", "clusterip", "made", "-n", "made", "--tcp=80:8080"]);
});

test("K14: auth can-i answers for whoever asks", async () => {
  assert.equal(await kubectl.ok(["auth", "can-i", "create", "pods"]), "yes\n");
  assert.equal(await kubectl.ok(["auth", "can-i", "get", "pods/log"]), "yes\n");
});

test("K15: explain reads the kinds' own schemas", async () => {
  const { stdout, stderr } = await kubectl.run(["explain", "stream.spec.egress"]);
  if (readsOpenApiV3()) assert.match(stdout, /keep\t<\[\]string>/);
  else assert.match(stderr, /couldn't find resource/);
});

test("K16: cordon and drain evict what runs on a node", async () => {
  await done(
    cell.resources.create(nodeKind, { apiVersion: "v1", kind: "Node", metadata: { name: "n9" } }),
  );
  await makePod("evicted", "n9");
  await kubectl.ok(["cordon", "n9"]);
  const node = await cell.resources.get(nodeKind, { name: "n9" });
  assert.equal(node?.spec?.unschedulable, true);
  const key = { namespace: "default", name: "evicted" };
  const drain = kubectl.start(["drain", "n9", "--force", "--timeout=60s"]);
  const confirmed = waitFor(
    async () => (await cell.resources.get(podKind, key))?.metadata.deletionTimestamp,
    { what: "the eviction" },
  ).then(() => cell.resources.delete(podKind, key, { gracePeriodSeconds: 0 }));
  const [[code]] = await Promise.all([once(drain, "close"), confirmed]);
  assert.equal(code, 0, drain.output());
});

test("K18: an informer of the Kubernetes client library follows what happens", async () => {
  const config = new KubeConfig();
  config.loadFromFile(kubectl.kubeconfig);
  const api = config.makeApiClient(CoreV1Api);
  const informer = makeInformer<V1ConfigMap>(config, "/api/v1/namespaces/default/configmaps", () =>
    api.listNamespacedConfigMap({ namespace: "default" }),
  );
  const seen: string[] = [];
  for (const verb of ["add", "update", "delete"] as const) {
    informer.on(verb, ({ metadata }) => void seen.push(`${verb} ${metadata?.name}`));
  }
  const faults: unknown[] = [];
  informer.on("error", (error) => void faults.push(error));
  await informer.start();
  await kubectl.ok(["create", "configmap", "informed", "--from-literal=a=1"]);
  await kubectl.ok(["label", "configmap", "informed", "a=b"]);
  await kubectl.ok(["delete", "configmap", "informed"]);
  await waitFor(() => seen.includes("delete informed"), { what: "the deletion to be seen" });
  await informer.stop();
  const informed = seen.filter((line) => line.endsWith(" informed"));
  assert.deepEqual(informed, ["add informed", "update informed", "delete informed"]);
  assert.deepEqual(faults, []);
});

test("K17: delete waits until it is gone; all of a kind by label", async () => {
  await writeFile(join(cell.folder, "all.yaml"), first);
  await kubectl.ok(["delete", "-f", join(cell.folder, "all.yaml")]);
  const gone = await kubectl.run(["get", "-f", join(cell.folder, "all.yaml")]);
  assert.equal(gone.stdout, "");
  await kubectl.ok(["create", "configmap", "x", "--from-literal=a=1"]);
  await kubectl.ok(["delete", "configmap", "--all"]);
  assert.equal(await kubectl.ok(["get", "cm", "-o", "name"]), "");
});
