/** A cell whose only server loses its disk: back from a worker's copy, then with the worker in its place. */
import { strict as assert } from "node:assert";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  example,
  podIdentities,
  skerry,
  skerryJson,
  skerryText,
  startTestSite,
  waitReady,
  type TestSite,
} from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

type Backup = { id: string; on?: string[]; path?: string };

let site: TestSite;
let key: string;

before(async () => {
  site = await startTestSite({ name: "kiln", subnet: 43, nodes: 2 });
  key = join(site.dir, "kiln.key");
  await site.kube(["apply", "-f", example("hello.yaml")]);
  await site.kube(["scale", "deployment/hello", "--replicas=2"]);
  await waitReady(site, "hello");
});

after(async () => {
  assert.deepEqual(await site.close(), [], "`skerry down` left processes");
});

const dataOf = (name: string) => ["--data", site.dataDir(name)];
/** Pods of n2, with their processes, as it tells them itself. */
const podsOfWorker = async () => {
  const status = await site.status("n2");
  const own = status.pods.filter(({ node }) => node === "n2");
  return podIdentities({ ...status, pods: own }, "hello-");
};

test("B8: the server's disk is lost; restored from the worker's copy, the worker's pods keep their processes and follow", async () => {
  const made = await waitFor(
    async () => {
      const backup = await skerryJson<Backup>(["backup", "now", ...dataOf("n1")]);
      return backup.on?.length === 3 && backup;
    },
    { what: "a backup on n1, n2 and the hub", timeoutMs: 60_000 },
  );
  writeFileSync(key, await skerryText(["backup", "key", ...dataOf("n1")]));
  const before = await podsOfWorker();
  assert.equal(before.size, 1);
  // Not in the backup: surplus afterwards.
  await site.kube(["create", "configmap", "later"]);
  const refused = await skerry(["restore", "latest", "--yes", ...dataOf("n1")]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /agent .* runs/);

  await site.down("n1");
  rmSync(site.dataDir("n1"), { recursive: true });
  const { backups } = await skerryJson<{ backups: Backup[] }>(["backup", "list", ...dataOf("n2")]);
  const copy = backups.find(({ id }) => id === made.id)?.path ?? "";
  const args = ["restore", copy, "--key", key, ...dataOf("n1")];
  const asked = await skerry(args);
  assert.equal(asked.code, 2);
  assert.match(asked.stdout, /this machine becomes n1/);
  assert.match(asked.stderr, /nothing was changed/);
  const told = await skerryText([...args, "--yes"]);
  assert.match(told, /deployments\.apps\s+1\b/);

  await site.up("n1");
  await waitReady(site, "hello", { timeoutMs: 60_000 });
  const now = await podsOfWorker();
  assert.deepEqual(now, before, "the worker's pods are what they were");
  const { code } = await site.kubectl(["get", "configmap", "later"]);
  assert.equal(code, 1, "what was made after the backup is gone");
  // The worker hears of changes again: another pod takes the place of its own.
  const [pod = ""] = before.keys();
  await site.kube(["delete", "pod", pod, "--wait=false"]);
  const replaced = async () => {
    const pods = await podsOfWorker();
    return pods.size === 1 && !pods.has(pod);
  };
  await waitFor(replaced, { what: "another pod on n2", timeoutMs: 60_000 });
});

test("B8: the server's machine is gone for good; the worker becomes the server, and its pods go on", async () => {
  const made = await waitFor(
    async () => {
      const backup = await skerryJson<Backup>(["backup", "now", ...dataOf("n1")]);
      return backup.on?.includes("n2") && backup;
    },
    { what: "a backup on n2", timeoutMs: 60_000 },
  );
  const before = await podsOfWorker();
  await site.down("n1");
  await site.down("n2", ["--pods", "keep"]);
  await skerryText(["restore", made.id, "--key", key, "--yes", ...dataOf("n2")]);
  const { api } = await site.up("n2");
  await skerryText(["kubeconfig", ...dataOf("n2"), "-o", join(site.dir, "kubeconfig")]);
  assert.match(await site.kube(["get", "nodes"], { at: "n2" }), /n2/);
  assert.match(api, /127\.0\.43\.12/);
  await waitFor(
    async () => {
      const now = await podsOfWorker();
      return [...before].every(([name, identity]) => now.get(name) === identity);
    },
    { what: "the pods of n2 to be what they were", timeoutMs: 60_000 },
  );

  // The lost machine is found again, with the ledger of before.
  await site.up("n1").catch(() => undefined);
  await waitFor(
    async () => {
      const { nodes } = await site.status("n2");
      const n1 = nodes.find(({ name }) => name === "n1");
      return n1?.role === "worker" && n1.verdict.state === "alive";
    },
    { what: "n1 to be a worker of the new server", timeoutMs: 60_000 },
  );
  // What the new server says of it is said at once; that it steps down takes its own agent a restart,
  // and its log is written beside its work.
  const inN1 = (...parts: string[]) => join(site.dataDir("n1"), ...parts);
  await waitFor(
    () => {
      const files = readdirSync(inN1());
      const isAside = files.some((name) => name.startsWith("ledger-superseded-"));
      const isGone = !files.includes("ledger.db") && !files.includes("admin.json");
      return isAside && isGone && !readdirSync(inN1("identity")).includes("ca.json");
    },
    { what: "n1 to put the old ledger aside", timeoutMs: 60_000 },
  );
  await waitFor(() => /goes on as a worker/.test(readFileSync(inN1("logs", "agent.log"), "utf8")), {
    what: "n1's log to say that it goes on as a worker",
    timeoutMs: 90_000,
  });
});
