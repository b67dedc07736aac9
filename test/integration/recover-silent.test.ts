/** A survey of members that are gone without a word, as machines without power are. */
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { refreshEtcdLeaf } from "../../src/agent/etcd-files.ts";
import { planRecover } from "../../src/agent/recover-plan.ts";
import { ensureLedgerAuthority } from "../../src/identity/index.ts";
import { etcdUrl, writeLedgerRecord } from "../../src/ledger/index.ts";
import { exited } from "../../src/runtime/child/index.ts";
import { freePort } from "../../src/runtime/listen/index.ts";
import { recordOf, writeAuthority, writeNode } from "../support/backup.ts";
import { hostDeps, temporaryFolder } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const connecting = () =>
  process.getActiveResourcesInfo().filter((kind) => kind.endsWith("ConnectWrap")).length;

/** A port whose connections are neither accepted nor refused: nobody takes them out of a full queue. */
async function silentPort(t: TestContext, host: string): Promise<number> {
  const script = `
    const server = require("node:net").createServer();
    server.listen({ host: "${host}", port: 0, backlog: 1 }, () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    child.kill("SIGKILL");
    await exited(child);
  });
  const port = await new Promise<number>((resolve) =>
    child.stdout.once("data", (bytes: Buffer) => resolve(Number(String(bytes)))),
  );
  child.kill("SIGSTOP");
  const fillers = Array.from({ length: 4 }, () => connect({ host, port }).on("error", () => {}));
  t.after(() => {
    for (const socket of fillers) socket.destroy();
  });
  await waitFor(() => fillers.filter(({ pending }) => !pending).length >= 2, {
    what: "the queue to be full",
  });
  return port;
}

test("B10: a survey leaves no call behind to members that are gone, so that the command ends with it", async (t) => {
  await using dir = await temporaryFolder();
  const dataDir = join(dir.path, "n1");
  mkdirSync(dataDir);
  const host = "127.0.44.51";
  const silent = "127.0.44.52";
  const port = await silentPort(t, silent);
  const here = { name: "n1", host, port: await freePort(host) };
  const gone = ["n2", "n3"].map((name) => ({ name, host: silent, port }));
  const nowMs = () => Date.now();
  await writeAuthority(dataDir);
  const folder = join(dataDir, "identity");
  await ensureLedgerAuthority({ ...hostDeps, nowMs }, { folder, trustDomain: "mill.skerry" });
  writeNode(dataDir, { ...recordOf("n1"), host });
  await refreshEtcdLeaf({ ...hostDeps, nowMs }, dataDir, host);
  writeLedgerRecord(dataDir, {
    ...{ version: 1, engine: "etcd", state: "member", token: "mill-1", member: "n1" },
    ...{ clientPort: here.port, peersPort: 7447, epoch: "e" },
    initial: { cluster: "new", members: [{ name: "n1", peerUrl: etcdUrl(host, 7447) }] },
    endpoints: [here, ...gone],
  });

  const before = connecting();
  const { members } = await planRecover(hostDeps, dataDir);
  assert.deepEqual(
    members.map(({ name, seen }) => [name, seen]),
    [
      ["n1", undefined],
      ["n2", undefined],
      ["n3", undefined],
    ],
  );
  await waitFor(() => connecting() <= before, {
    what: "the calls to the silent members to end",
  });
});
