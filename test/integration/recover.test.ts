/** A cell of three etcd members loses two: it goes on with what the third has, in a history of its own. */
import { strict as assert } from "node:assert";
import { spawn, type ChildProcess } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { readNodeRecord } from "../../src/agent/config.ts";
import { etcdFiles, readEtcdCredentials, refreshEtcdLeaf } from "../../src/agent/etcd-files.ts";
import { etcdBinary } from "../../src/agent/etcd-runner.ts";
import { planRecover } from "../../src/agent/recover-plan.ts";
import { recoverCell } from "../../src/agent/recover.ts";
import {
  ensureLedgerAuthority,
  ledgerCommonName,
  ledgerServerName,
  type SignedHistory,
} from "../../src/identity/index.ts";
import {
  defaultTimers,
  detectEtcd,
  etcdCommand,
  etcdUrl,
  openEtcdLedger,
  readLedgerRecord,
  writeLedgerRecord,
  type KeyValue,
} from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { generationOf } from "../../src/lib/history.ts";
import { exited } from "../../src/runtime/child/index.ts";
import { readRecord } from "../../src/runtime/files/index.ts";
import { freePort } from "../../src/runtime/listen/index.ts";
import { recordOf, writeAuthority, writeNode } from "../support/backup.ts";
import { bytes, hostDeps, openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const searchPath = process.env["PATH"] ?? "";
const binary = etcdBinary(searchPath);
const running = new Set<ChildProcess>();

after(async () => {
  await Promise.all([...running].map(kill));
});

async function kill(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await exited(child);
  running.delete(child);
}

type Member = { name: string; dataDir: string; host: string; client: number; peer: number };

async function startMember(member: Member, all: readonly Member[]): Promise<ChildProcess> {
  assert.ok(binary, "etcd is not installed: apt-get install etcd-server");
  const peerUrl = ({ host, peer }: Member) => etcdUrl(host, peer);
  const { args, env } = etcdCommand(
    {
      name: member.name,
      dataDir: etcdFiles(member.dataDir).folder,
      host: member.host,
      clientPort: member.client,
      peerPort: member.peer,
      files: etcdFiles(member.dataDir).tls,
      peerCommonName: ledgerCommonName,
      initial: {
        state: "new",
        token: "mill-1",
        peers: all.map((one) => ({ name: one.name, peerUrl: peerUrl(one) })),
      },
      timers: defaultTimers,
    },
    await detectEtcd(binary),
  );
  const child = spawn(binary, args, { env, stdio: "ignore" });
  running.add(child);
  return child;
}

test("B10: two of three members are lost; the third's state becomes a ledger of one, and says that its history holds", async () => {
  await using dir = await temporaryFolder();
  const nowMs = () => Date.now();
  const members = await Promise.all(
    ["n1", "n2", "n3"].map(async (name, index): Promise<Member> => {
      const host = `127.0.44.${21 + index}`;
      const dataDir = join(dir.path, name);
      return { name, dataDir, host, client: await freePort(host), peer: await freePort(host) };
    }),
  );
  const [n1, n2, n3] = members;
  assert.ok(n1 && n2 && n3);
  await writeAuthority(n1.dataDir);
  const folder = join(n1.dataDir, "identity");
  await ensureLedgerAuthority({ ...hostDeps, nowMs }, { folder, trustDomain: "mill.skerry" });
  for (const { name, dataDir, host, client, peer } of members) {
    if (name !== "n1") {
      mkdirSync(dataDir);
      cpSync(folder, join(dataDir, "identity"), { recursive: true });
    }
    const record = recordOf(name);
    writeNode(dataDir, { ...record, host });
    await refreshEtcdLeaf({ ...hostDeps, nowMs }, dataDir, host);
    writeLedgerRecord(dataDir, {
      version: 1,
      engine: "etcd",
      state: "member",
      token: "mill-1",
      member: name,
      clientPort: client,
      peersPort: peer,
      initial: {
        cluster: "new",
        members: members.map((one) => ({ name: one.name, peerUrl: etcdUrl(one.host, one.peer) })),
      },
      epoch: "e",
      endpoints: members.map((one) => ({ name: one.name, host: one.host, port: one.client })),
    });
  }
  await assert.rejects(planRecover(hostDeps, dir.path), isRefused(/holds no member/));

  const children = await Promise.all(members.map((member) => startMember(member, members)));
  const connect = (to: readonly Member[]) => ({
    members: () => to.map(({ name, host, client }) => ({ name, host, port: client })),
    credentials: () => readEtcdCredentials(n1.dataDir),
    serverName: ledgerServerName("mill.skerry"),
  });
  const ledger = await waitFor(
    () => openEtcdLedger(hostDeps, { ...connect(members), name: "test", timeoutMs: 60_000 }),
    { what: "a quorum", timeoutMs: 60_000 },
  );
  for (let index = 0; index < 30; index++) {
    const outcome = await ledger.transact(
      [],
      [
        {
          type: "put",
          key: `/registry/core/pods/default/p${index}`,
          value: bytes(`{"n":${index}}`),
        },
      ],
    );
    assert.equal(outcome.state, "done");
  }
  const { items, revision: last } = await ledger.list("/registry/");
  // A survey gives each server some seconds: on a slow machine it may hear less than there is.
  await waitFor(
    async () => {
      await assert.rejects(
        planRecover(hostDeps, n1.dataDir),
        isRefused(/a majority of the servers answers/),
      );
      return true;
    },
    { what: "a survey that hears a majority", timeoutMs: 60_000 },
  );
  // The third has heard everything before the two are gone.
  await waitFor(
    async () => {
      const statuses = await ledger.cluster.status();
      const indexes = statuses.map((one) => (one.state === "answers" ? one.raftAppliedIndex : -1));
      return indexes.length === 3 && new Set(indexes).size === 1;
    },
    { what: "every member to have heard the last write", timeoutMs: 30_000 },
  );
  await ledger.close();
  await Promise.all(children.slice(1).map(kill));

  const plan = await waitFor(() => planRecover(hostDeps, n1.dataDir), {
    what: "the survey without a leader",
    timeoutMs: 60_000,
  });
  assert.deepEqual(
    plan.members.map(({ name, seen }) => [name, seen !== undefined]),
    [
      ["n1", true],
      ["n2", false],
      ["n3", false],
    ],
  );
  assert.match(plan.words.join("\n"), /not heard: n2, n3/);
  const [first] = children;
  assert.ok(first);
  // As the keeper does: etcd leaves no write half on its way.
  first.kill("SIGTERM");
  await exited(first);
  running.delete(first);
  const recovered = await recoverCell({ ...hostDeps, searchPath, tell: () => undefined }, plan);
  assert.equal(recovered.keys, items.length);
  assert.equal(generationOf(recovered.revision), generationOf(last) + 1);
  assert.equal(readLedgerRecord(n1.dataDir), undefined);
  assert.ok(recovered.aside !== undefined && existsSync(join(recovered.aside, "ledger", "etcd")));
  assert.equal(readNodeRecord(n1.dataDir)?.role, "server");
  const { claim } = readRecord(join(n1.dataDir, "history.json")) as SignedHistory;
  assert.deepEqual([claim.node, claim.epoch], ["n1", recovered.epoch]);
  assert.deepEqual(
    readdirSync(n1.dataDir).filter(
      (name) => name.startsWith("recovering") || name.endsWith("restored"),
    ),
    [],
  );

  await using now = openTestLedger({ path: join(n1.dataDir, "ledger.db") });
  const { items: found } = await now.list("/registry/");
  const bare = ({ key, value, createRevision, modRevision, version }: KeyValue) => ({
    key,
    value: Buffer.from(value).toString(),
    createRevision,
    modRevision,
    version,
  });
  assert.deepEqual(found.map(bare), items.map(bare));
});

function isRefused(words: RegExp) {
  return (error: unknown) =>
    error instanceof SkerryError && error.code === "recover-refused" && words.test(error.message);
}
