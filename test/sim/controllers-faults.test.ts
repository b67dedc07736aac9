/**
 * The loops under conflicts, unknown outcomes, refusals and watches that lag and break, on the real
 * ledger. A failure names its seed: run this file again with SEEDS=that.
 */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { deploymentKind, podKind, replicaSetKind, type Pod } from "../../src/api/index.ts";
import { deploymentOf, isRolledOut, openTestCell } from "../support/controllers-cell.ts";
import { noFaults } from "../support/controllers-faults.ts";

const seeds = (process.env["SEEDS"] ?? "1,2,3,4,5,22,43").split(",").map(Number);

test("C11: trouble delays a cell's deployments and never multiplies their pods", async () => {
  for (const seed of seeds) {
    await using cell = await openTestCell({ seed });
    cell.faults = {
      conflict: 0.15,
      unknown: 0.15,
      unavailable: 0.05,
      watchBreaks: 0.1,
      watchLagMs: 100 + 100 * (seed % 4),
    };
    const wanted = 4;
    let surplus: string | undefined;
    // Every state the ledger ever had, not only those that a poll happens to meet.
    let watchFailed: unknown;
    const abort = new AbortController();
    const live = new Map<string, Pod>();
    const watching = (async () => {
      for await (const event of cell.resources.watch(podKind, { signal: abort.signal })) {
        if (event.type === "BOOKMARK") continue;
        const { uid = "", deletionTimestamp } = event.object.metadata;
        if (event.type === "DELETED" || deletionTimestamp) live.delete(uid);
        else live.set(uid, event.object);
        // maxSurge 25% of 4 is one.
        if (live.size > wanted + 1)
          surplus ??= [...live.values()].map((pod) => pod.metadata.name).join();
      }
    })().catch((error: unknown) => {
      watchFailed = error;
    });

    await cell.apply(deploymentOf("web", wanted));
    const rolled = (revision: string) => async () => {
      const deployment = await cell.get(deploymentKind, "web");
      return (
        deployment !== undefined &&
        isRolledOut(deployment) &&
        deployment.metadata.annotations?.["deployment.kubernetes.io/revision"] === revision
      );
    };
    await cell.until(`SEEDS=${seed}: the first rollout`, rolled("1"), 300_000);
    await cell.change("web", ({ spec }) => {
      spec.template.spec.containers[0]!.args = ["2"];
    });
    await cell.clock.advance(200 + cell.random.float() * 1000);
    await cell.changeLeader();
    await cell.until(`SEEDS=${seed}: the second rollout`, rolled("2"), 600_000);
    cell.faults = noFaults;
    await cell.clock.advance(60_000);
    const pods = await cell.pods();
    assert.equal(pods.length, wanted, `SEEDS=${seed}`);
    assert.ok(pods.every(({ status }) => status?.phase === "Running"));
    assert.equal((await cell.resources.list(replicaSetKind)).items.length, 2, `SEEDS=${seed}`);
    assert.equal(surplus, undefined, `SEEDS=${seed}: more than ${wanted + 1} pods at once`);
    assert.equal(watchFailed, undefined);
    abort.abort();
    await cell.clock.advance(10);
    await watching;
  }
});

test("C3, C11: under the same trouble a node's death and return ends with the asked number and the survivor", async () => {
  for (const seed of seeds.slice(0, 4)) {
    await using cell = await openTestCell({ seed });
    await cell.apply(deploymentOf("web", 3));
    const rolled = async () => {
      const deployment = await cell.get(deploymentKind, "web");
      return deployment !== undefined && isRolledOut(deployment);
    };
    await cell.until("the rollout", rolled);
    const survivor = (await cell.pods()).find(({ spec }) => spec.nodeName === "n2")?.metadata.uid;
    cell.faults = {
      conflict: 0.2,
      unknown: 0.2,
      unavailable: 0.1,
      watchBreaks: 0.1,
      watchLagMs: 200,
    };
    cell.setAgent("n2", "down");
    cell.setVerdict("n2", { state: "unreachable", forMs: 1500, witnesses: [] });
    await cell.until(
      `SEEDS=${seed}: three elsewhere`,
      async () => {
        const pods = await cell.pods();
        return (
          pods.filter(({ spec, status }) => spec.nodeName !== "n2" && status?.phase === "Running")
            .length >= 3
        );
      },
      300_000,
    );
    cell.setAgent("n2", "up");
    cell.setVerdict("n2", { state: "alive" });
    await cell.until(
      `SEEDS=${seed}: the surplus to go`,
      async () => (await cell.pods()).length === 3,
      300_000,
    );
    cell.faults = noFaults;
    await cell.clock.advance(60_000);
    const uids = (await cell.pods()).map(({ metadata }) => metadata.uid);
    assert.equal(uids.length, 3, `SEEDS=${seed}`);
    assert.ok(uids.includes(survivor), `SEEDS=${seed}: the survivor was killed`);
    await cell.until("a quiet rollout", rolled);
  }
});

test("C7, C11: under trouble no node is overcommitted", async () => {
  for (const seed of seeds.slice(0, 4)) {
    await using cell = await openTestCell({ seed, nodes: 2 });
    cell.faults = {
      conflict: 0.2,
      unknown: 0.2,
      unavailable: 0.1,
      watchBreaks: 0.1,
      watchLagMs: 300,
    };
    const deployment = deploymentOf("web", 10);
    deployment.spec.template.spec.containers[0]!.resources = { requests: { cpu: "1" } };
    await cell.apply(deployment);
    const onNode = async (node: string) =>
      (await cell.pods()).filter(({ spec }) => spec.nodeName === node).length;
    for (let round = 0; round < 200; round++) {
      await cell.clock.advance(100);
      assert.ok((await onNode("n1")) <= 4 && (await onNode("n2")) <= 4, `SEEDS=${seed}`);
    }
    cell.faults = noFaults;
    await cell.until(
      `SEEDS=${seed}: eight placed`,
      async () => (await onNode("n1")) + (await onNode("n2")) === 8,
      120_000,
    );
    assert.equal((await cell.pods()).length, 10);
  }
});
