/** From one server to three under load, the loss of the first one, its return, and a farewell. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { ServersView } from "../../src/api/index.ts";
import { processesOf, skerry, skerryJson, startTestSite, type TestSite } from "../support/site.ts";
import { waitFor } from "../support/wait.ts";
import { startWriter, type Writer } from "../support/cell-writer.ts";

let site: TestSite;
let writer: Writer | undefined;

before(async () => {
  site = await startTestSite({ name: "grows", subnet: 34, nodes: 3 });
  writer = startWriter(site.dataDir("n1"), (name) => site.node(name).api);
});

after(async () => {
  await writer?.stop();
  const left = await site.close();
  assert.deepEqual(left, [], "`skerry down` left processes");
});

const patience = { timeoutMs: 300_000 };

const servers = (at: string) =>
  skerryJson<ServersView>(["server", "list", "--data", site.dataDir(at)]);

const namesAt = (at: string, states: readonly string[]) =>
  servers(at).then((view) =>
    view.servers.filter(({ state }) => states.includes(state)).map(({ name }) => name),
  );

const waitForServers = (at: string, names: readonly string[], timeoutMs = 120_000) =>
  waitFor(
    async () => {
      const found = await namesAt(at, ["leader", "follower"]);
      return JSON.stringify(found) === JSON.stringify(names);
    },
    { what: `servers ${names.join(", ")} seen from ${at}`, timeoutMs },
  );

const load = (): Writer => {
  assert.ok(writer);
  return writer;
};

/** Every write that was acknowledged can be read at this node. */
async function assertNothingLost(at: string): Promise<void> {
  const before = [...load().acknowledged()];
  const found = new Set(await load().read(at));
  const lost = before.filter((name) => !found.has(name));
  assert.deepEqual(lost, [], `acknowledged, and not there at ${at}`);
}

test("one server becomes three while the cell is written to, and nothing is lost", async () => {
  load().aim("n1");
  await waitFor(() => load().acknowledged().length > 5, { what: "writes before" });
  const { code, stderr } = await skerry(
    ["server", "add", "n2", "n3", "--data", site.dataDir("n1")],
    patience,
  );
  assert.equal(code, 0, stderr);
  assert.match(stderr, /n2: converting the ledger from SQLite to etcd/);
  assert.match(stderr, /n3: waiting until it is in sync/);
  await waitForServers("n3", ["n1", "n2", "n3"]);
  const written = load().acknowledged().length;
  await waitFor(() => load().acknowledged().length > written + 5, { what: "writes after" });
  for (const node of ["n1", "n2", "n3"]) await assertNothingLost(node);
  const again = await skerry(["server", "add", "n2", "--data", site.dataDir("n3")], patience);
  assert.match(again.stdout, /n2 is a server; three servers survive the loss of any one/);
});

test("L18: a server whose address changed is called where it is now", async () => {
  // As a machine that got another address while it ran: its member of the ledger outlives the agent.
  await site.down("n3", ["--pods", "keep"]);
  await site.up("n3", ["--host", "127.0.34.23"]);
  await waitFor(
    () =>
      /members know where this one is/.test(
        readFileSync(join(site.dataDir("n3"), "logs", "agent.log"), "utf8"),
      ),
    { what: "the members to be told where n3 is", timeoutMs: 60_000 },
  );
  await waitFor(
    async () =>
      (await servers("n1")).servers.find(({ name }) => name === "n3")?.address ===
      "127.0.34.23:7446",
    { what: "n1 to see n3 where it is", timeoutMs: 90_000 },
  );
  await waitForServers("n1", ["n1", "n2", "n3"]);
});

test("the first server is killed whole: writes go on through another and the one that moved, and it returns", async () => {
  load().aim("n2");
  // The keeper first: it would start the others again.
  for (const pid of processesOf(site.dataDir("n1"))) process.kill(pid, "SIGKILL");
  const written = load().acknowledged().length;
  await waitFor(() => load().acknowledged().length > written + 5, {
    what: "writes through n2 without n1",
    timeoutMs: 90_000,
  });
  await site.up("n1");
  await waitForServers("n2", ["n1", "n2", "n3"]);
  for (const node of ["n1", "n2"]) await assertNothingLost(node);
});

test("what would lose quorum is refused; a removed server that returns is refused and told how to rejoin", async () => {
  await site.down("n3");
  const refused = await skerry(["server", "remove", "n2", "--data", site.dataDir("n1")], patience);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /without n2 quorum would be lost: of n1 and n3 only one would/);
  const removed = await skerry(["server", "remove", "n3", "--data", site.dataDir("n1")], patience);
  assert.equal(removed.code, 0, removed.stderr);
  await waitForServers("n1", ["n1", "n2"]);
  await site.up("n3");
  await waitFor(
    async () =>
      (await site.status("n3")).nodes.find(({ name }) => name === "n3")?.role === "worker",
    { what: "n3 to be a worker", timeoutMs: 120_000 },
  );
  const said =
    /removed from the ledger: it goes on as a worker; to be a server again: skerry server add/;
  await waitFor(
    () => said.test(readFileSync(join(site.dataDir("n3"), "logs", "agent.log"), "utf8")),
    { what: "n3's log to say how it becomes a server again", timeoutMs: 90_000 },
  );
  await assertNothingLost("n1");
});
