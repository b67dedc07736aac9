/** A witness is called and calls nobody: it joins, votes, gives leadership away and is renewed, with real etcd members. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { WitnessBundle } from "../../src/api/index.ts";
import {
  adoptBundle,
  readBundle,
  runWitnessHere,
  witnessStatusHere,
} from "../../src/agent/index.ts";
import { openLedgerAuthority } from "../../src/identity/index.ts";
import { addLearnerOnceConnected, openEtcdCluster } from "../../src/ledger/index.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { writeFileAtomic } from "../../src/runtime/files/index.ts";
import { freePort } from "../../src/runtime/listen/index.ts";
import { hostDeps } from "../support/ledger.ts";
import { memoryFolder, startEtcd, testTimers } from "../support/etcd.ts";
import { waitFor } from "../support/wait.ts";

const timeoutMs = 40_000;

test("a witness that dials nobody joins, votes through the leader's death, and hands leadership to a server", async () => {
  await using folder = await memoryFolder();
  await using etcd = await startEtcd({ subnet: "127.0.52", folder: folder.path, members: 2 });
  const host = "127.0.52.9";
  const port = await freePort(host);
  const peerUrl = `https://${host}:${port}`;
  const deps = hostDeps;
  await using ledger = await etcd.openLedger();
  const learner = await addLearnerOnceConnected(deps.clock, ledger.cluster, [peerUrl]);
  const witness = { name: "w1", id: learner.id, peerUrl, isLearner: false };
  using cluster = await openEtcdCluster(deps, {
    members: () =>
      etcd.members.map(({ name, host: at, clientPort }) => ({ name, host: at, port: clientPort })),
    credentials: () => etcd.credentials,
    serverName: etcd.serverName,
    witnesses: () => [witness],
  });
  const status = await waitFor(
    async () => (await cluster.status()).find((one) => one.state === "answers"),
    { what: "a member to answer", timeoutMs },
  );
  const authority = openLedgerAuthority(
    { random: systemRandom, nowMs: () => Date.now() },
    join(folder.path, "authority"),
  );
  assert.ok(authority);
  const leaf = await authority.issueWitness(host);
  const members = await cluster.members();
  const bundle: WitnessBundle = {
    kind: "skerry-witness",
    version: 1,
    name: "w1",
    trustDomain: authority.trustDomain,
    address: { host, port },
    keyPem: leaf.keyPem,
    certPem: leaf.chainPem,
    caPem: authority.anchorPem,
    notAfterMs: leaf.notAfterMs,
    token: etcd.token,
    clusterId: status.clusterId,
    etcdVersion: status.version,
    memberId: learner.id,
    members: members.map((one) => ({
      id: one.id,
      name: one.id === learner.id ? "w1" : one.name,
      peerUrl: one.peerUrls[0] ?? "",
    })),
    timers: testTimers,
  };
  const dataDir = join(folder.path, "witness");
  writeFileAtomic(join(folder.path, "w1.witness"), JSON.stringify(bundle));
  adoptBundle(dataDir, readBundle(join(folder.path, "w1.witness")));

  const lines: string[] = [];
  const start = () => {
    const stop = new AbortController();
    const ended = runWitnessHere(
      { dataDir, searchPath: process.env["PATH"] ?? "" },
      { clock: deps.clock, random: deps.random },
      { tell: (line) => lines.push(line), signal: stop.signal },
    );
    return { ended, end: async () => (stop.abort(), await ended) };
  };
  const stateOf = () => witnessStatusHere(dataDir, deps).then(({ state }) => state);
  const running = start();
  try {
    await waitFor(
      async () => (await cluster.promote(learner.id)).state === "promoted" || undefined,
      { what: "the witness to get its vote", timeoutMs },
    );
    await waitFor(async () => (await stateOf()) === "voter" || undefined, {
      what: "the witness to vote",
      timeoutMs,
    });
    await ledger.transact([], [{ type: "put", key: "a", value: new Uint8Array([1]) }]);

    // It answers as a peer does, is told apart, and serves no clients anywhere.
    const clientUrl = await waitFor(
      async () => (await cluster.members()).find(({ id }) => id === learner.id)?.clientUrls[0],
      { what: "the witness to have told its name", timeoutMs },
    );
    assert.equal(clientUrl, `https://witness.invalid:${port}`);
    const ids = new Map((await cluster.members()).map(({ id, name }) => [name, id]));
    const leader = await waitFor(
      async () => {
        const statuses = await cluster.status();
        const seen = statuses.find((one) => one.state === "answers" && one.isWitness === true);
        const leaderId = seen?.state === "answers" ? seen.leaderId : undefined;
        // For moments it may lead itself.
        return etcd.members.find(({ name }) => ids.get(name) === leaderId);
      },
      { what: "the witness to answer as a peer, and to name a server as leader", timeoutMs },
    );

    // Nothing in its environment lets it call a server.
    const { pid } = JSON.parse(
      readFileSync(join(dataDir, "etcd.pid.json"), "utf8").split("\n").slice(1).join("\n"),
    ) as { pid: number };
    assert.match(
      readFileSync(`/proc/${pid}/environ`, "utf8"),
      /HTTPS_PROXY=http:\/\/127\.0\.0\.1:9\0/,
    );

    const other = etcd.members.find((one) => one !== leader);
    assert.ok(other);
    await leader.kill("SIGKILL");
    await using survivor = await etcd.openLedger({ from: [other.name] });
    await waitFor(
      async () =>
        (await survivor.transact([], [{ type: "put", key: "b", value: new Uint8Array([2]) }]))
          .state === "done" || undefined,
      { what: "a write through the survivor", timeoutMs },
    );
    await waitFor(
      async () =>
        (await cluster.status()).some(
          (one) => one.state === "answers" && one.name === other.name && one.leaderId === one.id,
        ) || undefined,
      { what: "leadership on the surviving server", timeoutMs },
    );

    await leader.start();
    await waitFor(
      async () => (await cluster.status()).every(({ state }) => state === "answers") || undefined,
      { what: "both servers to answer", timeoutMs },
    );
    await running.end();
    assert.equal(await stateOf(), "stopped");

    // A witness lost: nothing happens. It comes back on its data, without a bundle, on a new leaf.
    await ledger.transact([], [{ type: "put", key: "c", value: new Uint8Array([3]) }]);
    const again = await authority.issueWitness(host);
    adoptBundle(dataDir, { ...bundle, keyPem: again.keyPem, certPem: again.chainPem });
    const back = start();
    try {
      await waitFor(async () => (await stateOf()) === "voter" || undefined, {
        what: "the witness to vote again",
        timeoutMs,
      });
      assert.throws(() => adoptBundle(dataDir, { ...bundle, memberId: "1" }), {
        code: "witness-foreign",
      });
    } finally {
      await back.end();
    }
    assert.ok(existsSync(join(dataDir, "log")));
  } finally {
    await running.end();
  }
});
