/** One site, as a person uses it: kubectl, `skerry status`, streams from a node to the hub. */
import { strict as assert } from "node:assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  ask,
  example,
  processesOf,
  skerry,
  skerryJson,
  skerryText,
  startSkerry,
  startTestSite,
  waitReady,
  type TestSite,
} from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

type List = {
  items: {
    metadata: { name: string };
    spec: { nodeName?: string };
    status: { conditions?: { type: string; status: string }[] };
  }[];
};
type Imported = { rows: number; stored: number; duplicates: number };
type Shown = { body: Record<string, unknown>; cell?: string };

let site: TestSite;

before(async () => {
  site = await startTestSite({ name: "shop", subnet: 150, nodes: 3 });
  await site.kube(["apply", "-f", example("stream.yaml")]);
  await site.kube(["apply", "-f", "-"], {
    input: JSON.stringify({
      apiVersion: "skerry.dev/v1alpha1",
      kind: "Stream",
      metadata: { name: "diary" },
      spec: { description: "stays here" },
    }),
  });
});

after(async () => {
  const left = await site.close();
  assert.deepEqual(left, [], "`skerry down` left processes");
  assert.deepEqual(processesOf(site.dir), []);
});

const entriesOf = async (stream: string, args: readonly string[]): Promise<Shown[]> =>
  (await skerryText(["data", "query", stream, "--json", ...args]))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Shown);

test("kubectl sees three ready nodes", async () => {
  await waitFor(
    async () => {
      const { items } = await site.get<List>(["nodes"]);
      const ready = items.filter(({ status }) =>
        status.conditions?.some((one) => one.type === "Ready" && one.status === "True"),
      );
      return ready.length === 3 && items.length === 3;
    },
    { what: "three ready nodes", timeoutMs: 90_000 },
  );
  assert.match(await site.kube(["get", "nodes"]), /n1 +Ready +control-plane/);
});

test("the example is applied, watched, served on every node, and applied again without a change", async () => {
  const watch = site.startKubectl(["get", "pods", "-w"]);
  try {
    const applied = await site.kube(["apply", "-f", example("hello.yaml")]);
    for (const line of [
      "deployment.apps/hello created",
      "service/hello created",
      "ingress.networking.k8s.io/hello created",
    ])
      assert.ok(applied.includes(line), applied);
    await waitReady(site, "hello");
    await waitFor(() => /hello-\S+ +1\/1 +Running/.test(watch.stdout()), {
      what: "kubectl -w to tell of a running pod",
    });
  } finally {
    watch.kill("SIGINT");
    await watch.done;
  }
  for (const name of ["n1", "n2", "n3"]) {
    await waitFor(
      async () => {
        const { status, text } = await ask(`http://${site.node(name).ingress}/hello`);
        return status === 200 && text.includes("from the edge");
      },
      { what: `the ingress of ${name}` },
    );
  }
  assert.match(
    await site.kube(["apply", "-f", example("hello.yaml")]),
    /deployment\.apps\/hello unchanged/,
  );
});

test("scale up puts a pod on every node, and logs come from a pod on another node", async () => {
  await site.kube(["scale", "deployment/hello", "--replicas=3"]);
  const pods = await waitReady(site, "hello");
  assert.deepEqual(pods.map(({ node }) => node).sort(), ["n1", "n2", "n3"]);
  for (const node of ["n2", "n3"]) {
    const pod = pods.find((one) => one.node === node)?.name ?? "";
    await waitFor(async () => (await site.kube(["logs", pod])).includes(`${pod} listens on`), {
      what: `the log of ${pod} on ${node}`,
    });
  }
});

test("kubectl works against a worker's address as well, writes included", async () => {
  const at = "n2";
  assert.equal((await site.get<List>(["pods"], { at })).items.length, 3);
  await site.kube(["label", "deployment/hello", "seen=yes"], { at });
  assert.match(await site.kube(["get", "deployments", "-l", "seen=yes"]), /hello/);
});

test("what is wrong with an object is said with the field's name, and nothing changes", async () => {
  const { code, stderr } = await site.kubectl(["apply", "-f", "-"], {
    input: JSON.stringify({
      apiVersion: "skerry.dev/v1alpha1",
      kind: "Stream",
      metadata: { name: "bad" },
      spec: { durability: "sometimes" },
    }),
  });
  assert.notEqual(code, 0);
  assert.match(stderr, /durability/);
  assert.equal((await site.kubectl(["get", "stream", "bad"])).code, 1);
});

test("status tells nodes, pods and streams, as text and as JSON; the hub knows the cell", async () => {
  const status = await site.status("n3");
  assert.equal(status.cell, "shop");
  assert.deepEqual(
    status.nodes.map(({ name, role, verdict }) => [name, role, verdict.state]),
    [
      ["n1", "server", "alive"],
      ["n2", "worker", "alive"],
      ["n3", "worker", "alive"],
    ],
  );
  const text = await skerryText(["status", "--data", site.dataDir("n1")]);
  assert.match(text, /cell shop, seen from n1\n/);
  assert.match(text, /Deployment default\/hello\t3 of 3 ready/);
  assert.match(text, /n2\tworker\talive\t1\/1\tconnected/);

  const fleet = await waitFor(
    async () => {
      const now = await site.fleet();
      return now.cells[0]?.nodesConnected.length === 3 ? now : undefined;
    },
    { what: "three nodes linked to the hub" },
  );
  assert.deepEqual(
    fleet.cells.map(({ cell, state, nodesConnected }) => [cell, state, [...nodesConnected].sort()]),
    [["shop", "connected", ["n1", "n2", "n3"]]],
  );
  assert.match(await skerryText(["status", "--data", site.hubDir]), /shop\tconnected\t/);
});

test("a CSV file is stored once however often it is imported, and reaches every node", async () => {
  const file = join(site.dir, "readings.csv");
  const rows = Array.from(
    { length: 250 },
    (_, n) => `${new Date(Date.UTC(2026, 0, 1, 0, 0, n)).toISOString()},${n / 10},cold,s${n}`,
  );
  writeFileSync(file, `timestamp,celsius,site,operator\n${rows.join("\n")}\n`);
  const args = ["data", "import", file, "--stream", "readings", "--data"];
  const first = await skerryJson<Imported>([...args, site.dataDir("n2")]);
  assert.deepEqual([first.rows, first.stored, first.duplicates], [250, 250, 0]);
  const again = await skerryJson<Imported>([...args, site.dataDir("n2")]);
  assert.deepEqual([again.rows, again.stored, again.duplicates], [250, 0, 250]);
  for (const node of ["n1", "n3"]) {
    await waitFor(
      async () =>
        (await entriesOf("readings", ["--limit", "1000", "--data", site.dataDir(node)])).length ===
        250,
      { what: `250 entries on ${node}` },
    );
  }
  // The same file through another node: still once in the cell.
  const elsewhere = await skerryJson<Imported>([...args, site.dataDir("n3")]);
  assert.deepEqual([elsewhere.stored, elsewhere.duplicates], [0, 250]);
});

test("only the fields that were named reach the hub, and a stream without egress stays", async () => {
  const token = (
    await skerryText(["token", "create", "--app", "scale-4", "--data", site.dataDir("n3")])
  ).trim();
  const url = `${site.node("n1").gateway}/v1/streams/diary/entries`;
  const init = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ text: "private" }),
  };
  const refused = await ask(url, init);
  assert.equal(refused.status, 401);
  assert.match(refused.text, /there is no token/);
  const forged = { ...init.headers, authorization: `Bearer ${token.slice(0, -6)}AAAAAA` };
  assert.equal((await ask(url, { ...init, headers: forged })).status, 401);
  // The token of n3 is good on n1.
  const headers = { ...init.headers, authorization: `Bearer ${token}` };
  const taken = await ask(url, { ...init, headers });
  assert.equal(taken.status, 200, taken.text);

  const atHub = ["--data", site.hubDir, "--cell", "shop", "--limit", "1000"];
  const arrived = await waitFor(
    async () => {
      const entries = await entriesOf("readings", atHub);
      return entries.length === 250 ? entries : undefined;
    },
    { what: "250 readings at the hub", timeoutMs: 90_000 },
  );
  for (const { body } of arrived) assert.deepEqual(Object.keys(body).sort(), ["celsius", "site"]);
  assert.deepEqual(
    (await entriesOf("diary", ["--data", site.dataDir("n1")])).map(({ body }) => body),
    [{ text: "private" }],
  );
  const diary = await skerry(["data", "query", "diary", ...atHub]);
  assert.equal(diary.code, 1);
  assert.match(diary.stderr, /there is no collection or stream "diary"/);
});

test("tail begins with the newest entries and follows, on a node and on the hub, until Ctrl-C", async () => {
  const follow = ["data", "tail", "readings", "--json", "--limit", "2"];
  const tails = [
    startSkerry([...follow, "--data", site.dataDir("n1")]),
    startSkerry([...follow, "--data", site.hubDir, "--cell", "shop"]),
  ];
  const bodies = (text: string) =>
    text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => (JSON.parse(line) as Shown).body["celsius"]);
  try {
    for (const tail of tails)
      await waitFor(() => bodies(tail.stdout()).length === 2, { what: "the two newest entries" });
    const file = join(site.dir, "one.csv");
    writeFileSync(file, "celsius,site\n99,cold\n");
    await skerryText([
      "data",
      "import",
      file,
      "--stream",
      "readings",
      "--data",
      site.dataDir("n2"),
    ]);
    for (const tail of tails) {
      await waitFor(() => bodies(tail.stdout()).includes(99), {
        what: "the new entry in the tail",
        timeoutMs: 90_000,
      });
      assert.deepEqual(bodies(tail.stdout()), [24.8, 24.9, 99]);
    }
  } finally {
    for (const tail of tails) tail.kill("SIGINT");
  }
  for (const tail of tails) assert.equal((await tail.done).code, 0, tail.stderr());
});

test("durability=hub is reached on every node, also on those that joined", async () => {
  const token = (
    await skerryText(["token", "create", "--app", "scale-5", "--data", site.dataDir("n1")])
  ).trim();
  for (const node of ["n1", "n2", "n3"]) {
    const taken = await ask(
      `${site.node(node).gateway}/v1/streams/readings/entries?durability=hub&timeoutMs=60000`,
      {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
        body: JSON.stringify({ celsius: 4, site: "cold" }),
      },
    );
    assert.deepEqual([taken.status, JSON.parse(taken.text).reached], [200, "hub"], taken.text);
  }
});

test("what is deleted ends: its pods, their processes, its route", async () => {
  const pids = (await site.status("n1")).pods.flatMap(({ pids: byName }) => Object.values(byName));
  assert.ok(pids.length >= 3);
  await site.kube(["delete", "-f", example("hello.yaml")]);
  await waitFor(async () => (await site.get<List>(["pods"])).items.length === 0, {
    what: "no pods",
    timeoutMs: 90_000,
  });
  await waitFor(() => processesOf(site.dir).every((pid) => !pids.includes(pid)), {
    what: "the pods' processes to end",
  });
  await waitFor(async () => (await ask(`http://${site.node("n2").ingress}/hello`)).status === 404, {
    what: "the route to go",
  });
});
