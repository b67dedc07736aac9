/**
 * Wrong clocks on a whole site: every process of a node takes its wall clock from a file (libfaketime),
 * so that it can start in 1970 or a year ahead, and step while it runs. The monotonic clock is real.
 */
import { strict as assert } from "node:assert";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  applyExamples,
  ask,
  podIdentities,
  skerryText,
  startTestSite,
  waitReady,
  type TestSite,
} from "../support/site.ts";
import { waitFor } from "../support/wait.ts";

const library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
  .map((machine) => `/usr/lib/${machine}/faketime/libfaketime.so.1`)
  .find(existsSync);
const names = ["n1", "n2", "n3"] as const;
const clocks = mkdtempSync(join(tmpdir(), "skerry-clocks-"));
const clockFile = (node: string) => join(clocks, node);
const to1970 = "-20550d";
const aYearAhead = "+365d";
const noShift = "+0d";

/** From now on the node's wall clock is that far off; its processes notice within a second. */
const shift = (node: string, by: string) => writeFileSync(clockFile(node), `${by}\n`);

let site: TestSite;
let sent = 0;

before(async () => {
  assert.ok(library, "libfaketime is not here: apt-get install faketime");
  for (const name of names) shift(name, noShift);
  site = await startTestSite({
    name: "tide",
    subnet: 153,
    nodes: 3,
    envOf: (node) => ({
      LD_PRELOAD: library ?? "",
      FAKETIME_TIMESTAMP_FILE: clockFile(node),
      FAKETIME_CACHE_DURATION: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      NO_FAKE_STAT: "1",
    }),
  });
  await applyExamples(site);
});

after(async () => {
  const left = await site.close();
  rmSync(clocks, { recursive: true, force: true });
  assert.deepEqual(left, [], "`skerry down` left processes");
});

/** An entry given to a node is on another node's disk, and then at the hub. */
async function storeOnTwoDisks(node: string): Promise<void> {
  const mark = ++sent;
  await waitFor(
    async () => {
      // Anew each time: while a machine and its peers are still agreeing on the time, one may be too old.
      const token = (
        await skerryText(["token", "create", "--app", "meter", "--data", site.dataDir(node)], {
          env: {
            LD_PRELOAD: library ?? "",
            FAKETIME_TIMESTAMP_FILE: clockFile(node),
            FAKETIME_DONT_FAKE_MONOTONIC: "1",
          },
        })
      ).trim();
      const { status, text } = await ask(
        `${site.node(node).gateway}/v1/streams/readings/entries?durability=peer(1)`,
        {
          method: "POST",
          headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
          body: JSON.stringify({ celsius: mark, site: "tide" }),
        },
      );
      assert.equal(status, 200, text);
      return true;
    },
    { what: `an entry of ${node} on two disks`, timeoutMs: 90_000 },
  );
  await waitFor(
    async () => {
      const text = await skerryText([
        ...["data", "query", "readings", "--json", "--limit", "1000"],
        ...["--data", site.hubDir, "--cell", "tide"],
      ]);
      return text.includes(`"celsius":${mark}`);
    },
    { what: `the entry of ${node} at the hub`, timeoutMs: 90_000 },
  );
}

/**
 * What must work at a node whatever its clock says: an entry reaches another node's disk (links), the
 * hub has it, every node's ingress reaches every pod, beats are taken, and the API takes a write.
 */
async function waitAllWorks(node: string): Promise<void> {
  await storeOnTwoDisks(node);
  for (const name of names) {
    await waitFor(
      async () => (await ask(`http://${site.node(name).ingress}/hello`)).status === 200,
      { what: `the ingress of ${name}`, timeoutMs: 90_000 },
    );
    await waitFor(
      async () => {
        const { nodes } = await site.status(name);
        return nodes.length === 3 && nodes.every(({ verdict }) => verdict.state === "alive");
      },
      { what: `${name} to hear every node`, timeoutMs: 90_000 },
    );
  }
  await site.kube(["annotate", "deployment/hello", `mark=${sent}`, "--overwrite"], { at: node });
}

async function restartAgent(node: string): Promise<void> {
  const killed = site.node(node).agentPid;
  process.kill(killed, "SIGKILL");
  await waitFor(() => site.node(node).agentPid !== killed, {
    what: `a new agent of ${node}`,
    timeoutMs: 90_000,
  });
}

const identities = async () => podIdentities(await site.status("n1"), "hello-");

for (const [what, by] of [
  ["1970", to1970],
  ["a year ahead", aYearAhead],
] as const) {
  test(`A, I14: a worker's clock steps to ${what} while it runs, its agent restarts there, and it steps back`, async () => {
    const before = await identities();
    shift("n3", by);
    await waitAllWorks("n3");
    await restartAgent("n3");
    await waitAllWorks("n3");
    shift("n3", noShift);
    await waitAllWorks("n3");
    assert.deepEqual(await identities(), before);
  });
}

test("A, I14: the server's clock steps a year ahead, its agent restarts there, and it steps back", async () => {
  const before = await identities();
  shift("n1", aYearAhead);
  await restartAgent("n1");
  await waitAllWorks("n1");
  shift("n1", noShift);
  await waitAllWorks("n1");
  assert.deepEqual(await identities(), before);
});

test("A: 26 hours without a server: restarted agents serve, replicate and reach the hub; the server comes back", async () => {
  const before = await identities();
  await site.down("n1", ["--pods", "keep"]);
  for (const name of names) shift(name, "+26h");
  for (const name of ["n2", "n3"]) await restartAgent(name);
  for (const name of ["n2", "n3"]) {
    await storeOnTwoDisks(name);
    await waitFor(
      async () => (await ask(`http://${site.node(name).ingress}/hello`)).status === 200,
      { what: `the ingress of ${name}`, timeoutMs: 90_000 },
    );
  }
  await site.up("n1");
  await waitAllWorks("n2");
  await waitReady(site, "hello");
  assert.deepEqual(await identities(), before);
});
