/** Strong documents on three real etcd members that lose their leader, and then their quorum: still linearizable. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { strongLedgerOf } from "../../src/agent/strong-ledger.ts";
import { createStrongDocuments } from "../../src/data/strong/documents.ts";
import { checkLinearizable } from "../../src/drill/checkers/linearizability.ts";
import { memoryFolder, startEtcd } from "../support/etcd.ts";
import { hostDeps } from "../support/ledger.ts";
import { strongService } from "../support/strong.ts";
import {
  checkLog,
  historyCollection,
  recordStrongHistory,
  type StrongActor,
} from "../support/strong-history.ts";
import { waitFor } from "../support/wait.ts";

test("T1, T2, T3, T5: what clients of three nodes saw is linearizable while leaders move and members die", async (t) => {
  const folder = await memoryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const etcd = await startEtcd({ subnet: "127.0.46", folder: folder.path, members: 3 });
  t.after(() => etcd[Symbol.asyncDispose]());
  const cluster = await etcd.openCluster();
  t.after(() => cluster[Symbol.dispose]());

  const times = { done: 0, unknown: 0, failed: 0 };
  const codes = new Set<string>();
  const nodes = await Promise.all(
    ["n1,n2,n3", "n2,n3,n1", "n3,n1,n2"].map(async (from): Promise<StrongActor> => {
      const ledger = await etcd.openLedger({ from: from.split(","), timeoutMs: 3000 });
      t.after(() => ledger.close());
      const strong = createStrongDocuments({
        ...hostDeps,
        ledger: strongLedgerOf(strongService(t, ledger, { timeoutMs: 3000 })),
      });
      strong.declare([historyCollection]);
      return {
        ...strong,
        async write(caller, writes) {
          try {
            const answer = await strong.write(caller, writes);
            if (answer.state === "done") times.done++;
            if (answer.state === "unknown") times.unknown++;
            return answer;
          } catch (error) {
            times.failed++;
            codes.add((error as { code: string }).code);
            throw error;
          }
        },
      };
    }),
  );

  let isOver = false;
  const recording = recordStrongHistory(nodes, {
    seed: 1,
    clients: 1,
    keys: 3,
    deletions: 1,
    isOver: () => isOver,
  });

  const goOn = async (what: string) => {
    const before = times.done;
    await waitFor(() => times.done > before + 30, { what: `writes ${what}`, timeoutMs: 60_000 });
  };
  const leader = () =>
    waitFor(
      async () => {
        const statuses = await cluster.status();
        const leads = statuses.find((one) => one.state === "answers" && one.leaderId === one.id);
        return etcd.members.find(({ name }) => name === leads?.name);
      },
      { what: "a leader", timeoutMs: 60_000 },
    );
  try {
    await goOn("at the beginning");
    for (let round = 0; round < 2; round++) {
      // Again where leadership went elsewhere meanwhile, or a member was too slow to say what it is.
      await waitFor(
        async () => {
          const { name } = await leader();
          const statuses = await cluster.status();
          const other = statuses.find((one) => one.state === "answers" && one.name !== name);
          assert.ok(other?.state === "answers");
          await cluster.moveLeader(other.id);
          return true;
        },
        { what: "the leader to move", timeoutMs: 60_000 },
      );
      await goOn("after the leader moved");
    }
    const frozen = await leader();
    frozen.pause();
    await goOn("while the leader stands still");
    frozen.resume();
    // Whether a write is under way as all stand still is chance, so until one was.
    for (let round = 0; times.unknown === 0 && round < 20; round++) {
      const before = times.failed;
      for (const member of etcd.members) member.pause();
      await waitFor(() => times.unknown > 0 || times.failed > before, {
        what: "an answer of members that stand still",
        timeoutMs: 60_000,
      });
      for (const member of etcd.members) member.resume();
      await goOn("after all stood still");
    }
    const killed = await leader();
    await killed.kill();
    await goOn("after the leader was killed");
    await killed.start();
    const [first, second] = etcd.members;
    await Promise.all([first?.kill(), second?.kill()]);
    await waitFor(() => codes.has("quorum-lost"), { what: "a lost quorum", timeoutMs: 60_000 });
    await Promise.all([first?.start(), second?.start()]);
    await goOn("with the quorum back");
  } finally {
    isOver = true;
  }
  const { registers, log, torn, outcomes } = await recording;
  assert.ok(outcomes.unknown > 0, "no answer was lost, which tests little");
  assert.deepEqual(checkLinearizable(registers), []);
  assert.deepEqual(checkLog(log), []);
  assert.deepEqual(torn, []);
  t.diagnostic(`${registers.length + log.length} operations, ${JSON.stringify(outcomes)}`);
});
