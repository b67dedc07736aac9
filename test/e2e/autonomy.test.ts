/** What goes on when something is gone: agents, keepers, the server, the hub. One site, taken apart and mended. */
import { strict as assert } from "node:assert";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  applyExamples,
  ask,
  podIdentities,
  processesOf,
  skerryText,
  startTestSite,
  waitReady,
  type TestSite,
} from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

type PodList = { items: { metadata: { name: string; uid: string } }[] };

let site: TestSite;

before(async () => {
  site = await startTestSite({ name: "mill", subnet: 151, nodes: 3 });
  await applyExamples(site);
});

after(async () => {
  assert.deepEqual(await site.close(), [], "`skerry down` left processes");
});

const agentPid = (name: string) => site.node(name).agentPid;

function keeperPid(name: string): number | undefined {
  return processesOf(site.dataDir(name)).find((pid) => {
    const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return args.some((arg) => arg.includes("keeper.entry"));
  });
}

async function identities(at = "n1"): Promise<Map<string, string>> {
  await waitReady(site, "hello", { at });
  const found = podIdentities(await site.status(at), "hello-");
  assert.equal(found.size, 3);
  return found;
}

/** Whole: every node alive to every other, all pods ready. */
async function waitWhole(): Promise<void> {
  for (const name of ["n1", "n2", "n3"]) {
    await waitFor(
      async () => {
        const status = await site.status(name);
        return (
          status.nodes.length === 3 &&
          status.nodes.every(({ verdict }) => verdict.state === "alive") &&
          status.words.join() === "All is well"
        );
      },
      { what: `${name} to say that all is well`, timeoutMs: 90_000 },
    );
  }
}

/** What the pods of a node find in the files with their tokens. */
const podTokens = (name: string) =>
  globSync(`${site.dataDir(name)}/pods/*/token`).map((path) => readFileSync(path, "utf8"));

test("an agent that is killed comes back by itself; pods keep their processes and uids, and get new tokens", async () => {
  const before = await identities();
  const tokens = podTokens("n2");
  assert.ok(tokens.length > 0);
  const killed = agentPid("n2");
  process.kill(killed, "SIGKILL");
  await waitFor(() => agentPid("n2") !== killed, { what: "a new agent", timeoutMs: 90_000 });
  await waitWhole();
  assert.deepEqual(await identities(), before);
  const areNew = () => podTokens("n2").every((token) => token !== "" && !tokens.includes(token));
  await waitFor(areNew, { what: "new tokens for the pods that were adopted" });
  const headers = { authorization: `Bearer ${podTokens("n2")[0]}` };
  assert.equal((await ask(`${site.node("n2").gateway}/v1/streams`, { headers })).status, 200);
});

test("the server's agent, killed, comes back with all it had acknowledged", async () => {
  const before = await identities();
  const killed = agentPid("n1");
  await site.kube(["create", "configmap", "noted", "--from-literal=a=b"]);
  process.kill(killed, "SIGKILL");
  await waitFor(() => agentPid("n1") !== killed, { what: "a new agent", timeoutMs: 90_000 });
  await waitWhole();
  assert.match(await site.kube(["get", "configmap", "noted", "-o", "jsonpath={.data.a}"]), /^b$/);
  assert.deepEqual(await identities(), before);
});

test("a keeper that is killed leaves its pods running, and a new one adopts them", async () => {
  const before = await identities();
  const killed = keeperPid("n3");
  assert.ok(killed !== undefined);
  process.kill(killed, "SIGKILL");
  await waitFor(
    () => {
      const pid = keeperPid("n3");
      return pid !== undefined && pid !== killed;
    },
    { what: "a new keeper", timeoutMs: 90_000 },
  );
  await waitWhole();
  assert.deepEqual(await identities(), before);
  // The new keeper has them in hand: it can tell what they print, and stop them.
  const pod = (await site.status("n1")).pods.find(({ node }) => node === "n3")?.name ?? "";
  assert.match(await site.kube(["logs", pod]), /listens on/);
});

test("down --pods keep and up again: the same processes, served by the other nodes meanwhile", async () => {
  const before = await identities();
  await site.down("n2", ["--pods", "keep"]);
  assert.throws(() => process.kill(agentPid("n2"), 0), { code: "ESRCH" });
  const own = (await site.status("n1")).pods.find(({ node }) => node === "n2");
  assert.ok(own, "the pod of n2 stays an object of the cell");
  assert.equal((await ask(`http://${site.node("n3").ingress}/hello`)).status, 200);
  await site.up("n2");
  await waitWhole();
  assert.deepEqual(await identities(), before);
});

test("with the hub stopped its backlog grows; back again, it drains and nothing is missing", async () => {
  const token = (
    await skerryText(["token", "create", "--app", "meter", "--data", site.dataDir("n2")])
  ).trim();
  const send = async (celsius: number) => {
    const { status, text } = await ask(`${site.node("n2").gateway}/v1/streams/readings/entries`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ celsius, site: "mill" }),
    });
    assert.equal(status, 200, text);
  };
  const atHub = async () =>
    (
      await skerryText([
        ...["data", "query", "readings", "--json", "--limit", "1000"],
        ...["--data", site.hubDir, "--cell", "mill"],
      ])
    )
      .split("\n")
      .filter((line) => line !== "").length;
  await site.down("hub");
  for (let n = 0; n < 20; n++) await send(n);
  const status = await waitFor(
    async () => {
      const now = await site.status("n2");
      const report = now.nodes.find(({ name }) => name === "n2")?.report;
      return report?.hub.state === "lost" && report.hub.backlog.entries >= 20 ? now : undefined;
    },
    { what: "n2 to say that the hub is lost", timeoutMs: 90_000 },
  );
  assert.notEqual(status.words[0], "All is well");
  await site.startHub();
  await waitFor(async () => (await atHub()) === 20, {
    what: "twenty entries at the hub",
    timeoutMs: 90_000,
  });
  await waitFor(
    async () =>
      (await site.status("n2")).nodes.every(({ report }) => report?.hub.backlog.entries === 0),
    { what: "the backlog to drain", timeoutMs: 90_000 },
  );
  await waitWhole();
});

test("a worker starts with no server reachable: its pods run from the mirror and are served; reads answer, writes are refused", async () => {
  const before = await site.get<PodList>(["pods"]);
  const uidOf = new Map(before.items.map(({ metadata }) => [metadata.name, metadata.uid]));
  const mine = (await site.status("n1")).pods.find(({ node }) => node === "n2");
  assert.ok(mine);
  // Its pods are stopped with it, so that n2 has nothing but its folder to start from.
  await site.down("n2");
  await site.down("n1");
  assert.deepEqual(processesOf(site.dataDir("n2")), []);
  await site.up("n2");

  const status = await waitFor(
    async () => {
      const now = await site.status("n2");
      return now.pods.some(({ name, ready }) => name === mine.name && ready) ? now : undefined;
    },
    { what: "the pod of n2 to run again", timeoutMs: 90_000 },
  );
  assert.equal(status.pods.find(({ name }) => name === mine.name)?.uid, uidOf.get(mine.name));
  await waitFor(
    async () => {
      const { status: code, text } = await ask(`http://${site.node("n2").ingress}/hello`);
      return code === 200 && text.includes("from the edge");
    },
    { what: "the ingress of n2 to serve", timeoutMs: 90_000 },
  );
  const at = "n2";
  const { items } = await site.get<PodList>(["pods"], { at });
  assert.ok(items.some(({ metadata }) => metadata.name === mine.name));
  const refused = await site.kubectl(["scale", "deployment/hello", "--replicas=1"], { at });
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /server-lost: no server of this cell can be reached/);
  await waitFor(
    async () => {
      const text = await skerryText(["status", "--data", site.dataDir("n2")]);
      return (
        /No server of the cell can be reached from here/.test(text) &&
        /n1: unreachable for/.test(text)
      );
    },
    { what: "status to say in words what is lost", timeoutMs: 90_000 },
  );

  await site.up("n1");
  await waitWhole();
  await waitReady(site, "hello");
  assert.equal((await site.kubectl(["scale", "deployment/hello", "--replicas=2"], { at })).code, 0);
  await waitReady(site, "hello");
});

test("no agent logged an error while its peers were gone: what is expected is no fault", () => {
  const errors = ["n1", "n2", "n3"].flatMap((name) =>
    readFileSync(join(site.dataDir(name), "logs", "agent.log"), "utf8")
      .split("\n")
      .filter((line) => line.includes('"level":"error"')),
  );
  assert.deepEqual(errors, []);
});
