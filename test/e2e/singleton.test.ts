/** The example of a worker that never runs twice, on a real site; and coordination from both its nodes. */
import { strict as assert } from "node:assert";
import { globSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createCoordination } from "../../src/client/index.ts";
import { skerryText, startTestSite, type TestSite } from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

const examples = fileURLToPath(new URL("../../examples", import.meta.url));
let site: TestSite;

before(async () => {
  site = await startTestSite({ name: "mill", subnet: 41, nodes: 2 });
});

after(async () => {
  assert.deepEqual(await site.close(), [], "`skerry down` left processes");
});

/** As the example says, but from this checkout instead of an installed package. */
function manifest(): string {
  const text = readFileSync(`${examples}/singleton.yaml`, "utf8");
  const local = text
    .replace("workingDir: /srv/singleton", `workingDir: ${examples}`)
    .replace('command: ["node", ', 'command: ["node", "--conditions=skerry-source", ');
  assert.notEqual(local, text);
  return local;
}

/** What the pods themselves show: their namespace is their service account's. */
async function tokenOfPods(): Promise<string> {
  return await waitFor(
    () =>
      globSync(`${site.dir}/n?/pods/*/token`)
        .map((path) => readFileSync(path, "utf8"))
        // A file that is being written may be empty yet.
        .find((token) => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)),
    { what: "a pod's token", timeoutMs: 60_000 },
  );
}

test("of two copies one works; told to stop or killed, another goes on, and no step is done twice", async () => {
  await site.kube(["apply", "-f", "-"], { input: manifest() });
  const cell = createCoordination({
    gateway: site.node("n2").gateway,
    token: await tokenOfPods(),
  });
  const stop = new AbortController();
  const { signal } = stop;
  const leaders: { token: number; pod: string | undefined }[] = [];
  const steps: number[] = [];
  const observing = (async () => {
    for await (const { leader } of cell.observe("singleton", { signal }))
      if (leader) leaders.push({ token: leader.token, pod: leader.value });
  })();
  const watching = (async () => {
    for await (const { events } of cell.watch("singleton/steps", { signal, after: 1 }))
      for (const event of events) if (event.type === "put") steps.push(Number(event.entry.text()));
  })();
  /** A leader after this one, that has done something. */
  const leaderAfter = async (token: number) => {
    const leader = await waitFor(() => leaders.find((one) => one.token > token), {
      what: `a leader after token ${token}`,
      timeoutMs: 60_000,
    });
    const before = steps.length;
    await waitFor(() => steps.length > before, { what: "a step", timeoutMs: 60_000 });
    return leader;
  };
  try {
    const first = await leaderAfter(0);
    assert.equal(leaders.length, 1);
    await site.kube(["delete", "pod", first.pod ?? "", "--wait=false"]);
    const second = await leaderAfter(first.token);
    assert.notEqual(second.pod, first.pod);

    const { pods } = await site.status("n1");
    const pid = pods.find(({ name }) => name === second.pod)?.pids["worker"];
    assert.ok(pid, `the process of ${second.pod}`);
    process.kill(pid, "SIGKILL");
    await leaderAfter(second.token);

    // Each step is one more than the one before, whoever did it.
    assert.deepEqual(
      steps,
      steps.map((_, index) => index + 1),
    );
    const now = await cell.get("singleton/steps");
    assert.equal(now?.version, Number(now?.text()));
  } finally {
    stop.abort();
    await Promise.all([observing, watching]);
  }
});

test("a node that is no server passes on, with the application's own token; without a server it says so", async () => {
  const tokenOf = async (app: string) =>
    (await skerryText(["token", "create", "--app", app, "--data", site.dataDir("n2")])).trim();
  const [gauge, other] = [await tokenOf("gauge"), await tokenOf("other")];
  const at = (node: string, token: string) =>
    createCoordination({ gateway: site.node(node).gateway, token });
  const [server, worker] = [at("n1", gauge), at("n2", gauge)];
  const made = await worker.cas("zero", 0, "42");
  assert.ok(made.state === "done");
  assert.equal((await server.get("zero"))?.text(), "42");
  assert.equal(await at("n2", other).get("zero"), undefined);
  const stop = new AbortController();
  const seen: string[] = [];
  const watching = (async () => {
    for await (const { events } of worker.watch("zero", {
      after: made.revision,
      signal: stop.signal,
    }))
      for (const event of events) if (event.type === "put") seen.push(event.entry.text());
  })();
  await server.put("zero", "43");
  await waitFor(() => seen.includes("43"), { what: "the change", timeoutMs: 60_000 });
  stop.abort();
  await watching;

  await site.down("n1");
  await waitFor(
    () =>
      worker.get("zero").then(
        () => false,
        (error: { code?: string }) => error.code === "server-lost",
      ),
    { what: "the loss of the server to be told", timeoutMs: 60_000 },
  );
  await assert.rejects(worker.put("zero", "44"), { code: "server-lost" });
});
