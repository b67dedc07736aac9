/**
 * Consumer groups of the cell in virtual time: nodes with stores of their own, one ledger, and cuts
 * between them. What they promise stands in src/data/README.md (C6 to C9).
 */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createClient } from "../../src/client/index.ts";
import { createGroupRoutes, type Delivery, type StreamStore } from "../../src/data/index.ts";
import { createCoordinationService, groupSpace } from "../../src/ledger/applications/index.ts";
import { openSqliteLedger } from "../../src/ledger/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { entry, range, temporaryFolder } from "../support/data.ts";
import {
  id,
  type TestNode,
  simulated,
  world,
  append,
  replicate,
  keysIn,
  take,
  taken,
} from "../support/cell-groups.ts";

test("C6, C7: a node that is cut off delivers no more, another goes on where it was, and its late acknowledgement is fenced", async (t) => {
  const { clock, start } = simulated(t);
  const [one, two] = [await start("n1"), await start("n2")];
  await append(one, 1, 10);
  await replicate(one, two);
  assert.equal((await one.groups.create(id, { from: "oldest" })).created, true);
  assert.equal((await two.groups.create(id, { from: "newest" })).created, false);

  const first = await take(one);
  assert.deepEqual(keysIn(first), ["n1/1", "n1/2", "n1/3", "n1/4"]);
  assert.equal(await take(one), undefined, "one batch is under way at a time");
  assert.equal(await take(two), undefined, "one node delivers at a time");
  assert.equal((await one.groups.ack(id, first?.delivery ?? "")).state, "acknowledged");
  assert.equal((await one.groups.ack(id, first?.delivery ?? "")).state, "done-before");
  assert.equal((await two.groups.status(id)).holder, "n1");

  // While it renews it keeps the group, however long the other one waits.
  const second = await take(one);
  assert.deepEqual(keysIn(second), ["n1/5", "n1/6", "n1/7", "n1/8"]);
  for (let rounds = 0; rounds < 60; rounds++) {
    await clock.advance(1000);
    assert.equal(await take(two), undefined);
    assert.equal(await take(one), undefined);
  }

  // Cut off: it stops to deliver before the other can begin.
  one.cut = "all";
  let stoppedAtMs = 0;
  let begun: Delivery | undefined;
  const cutAtMs = clock.monotonicMs();
  while (!begun) {
    await clock.advance(250);
    assert.ok(clock.monotonicMs() < cutAtMs + 60_000, "the other takes over");
    const told = await take(one).catch((error: SkerryError) => error.code);
    if (told === "server-lost") stoppedAtMs ||= clock.monotonicMs();
    begun = await take(two);
    if (begun) assert.ok(stoppedAtMs > 0, "both delivered");
  }
  assert.deepEqual(keysIn(begun), keysIn(second), "what was not acknowledged comes again");
  await append(one, 11, 12);
  await append(two, 1, 2);
  await assert.rejects(one.groups.ack(id, second?.delivery ?? ""), { code: "server-lost" });
  one.cut = "none";
  assert.equal((await one.groups.ack(id, second?.delivery ?? "")).state, "fenced");
  assert.equal((await two.groups.ack(id, begun.delivery)).state, "acknowledged");

  // What the two took in while they were apart is delivered once they met.
  assert.deepEqual(keysIn(await taken(two, clock)), ["n1/9", "n1/10", "n2/1", "n2/2"]);
  await replicate(one, two);
  await replicate(two, one);
  const rest = (await take(two)) ?? (await two.groups.status(id));
  assert.ok("underWay" in rest && rest.underWay === 1 && rest.holder === "n2");
});

test("C7: over moves at any moment every entry is acknowledged once, by whoever delivers", async (t) => {
  const { clock, start } = simulated(t);
  const nodes = [await start("n1"), await start("n2"), await start("n3")];
  await nodes[0]?.groups.create(id, { from: "oldest" });
  const random = seededRandom(5);
  const next = new Map(nodes.map(({ name }) => [name, 1]));
  const acknowledged: string[] = [];
  const open: { node: TestNode; delivery: Delivery }[] = [];
  /** Cut off, and their members stand still. */
  const still = new Set<TestNode>();
  const acknowledge = async (at: number) => {
    const mine = open[at];
    if (!mine) return;
    const answer = await mine.node.groups
      .ack(id, mine.delivery.delivery)
      .catch((error: SkerryError) => ({ state: error.code }));
    if (answer.state === "acknowledged") acknowledged.push(...keysIn(mine.delivery));
    else assert.ok(["fenced", "server-lost", "done-before", "unknown"].includes(answer.state));
    if (answer.state !== "server-lost") open.splice(at, 1);
  };
  const step = async (node: TestNode) => {
    const from = next.get(node.name) ?? 1;
    const action = random.integer(9);
    if (action < 2) {
      await append(node, from, from + 4);
      // Entries that are sent to every node stand at another position on each (D4).
      await append(node, from, from + 1, "all");
      next.set(node.name, from + 5);
    } else if (action === 2) {
      // Who stood still goes on with what it had: the first that it does is to acknowledge.
      const goesOn = still.delete(node);
      if (!goesOn) still.add(node);
      node.cut = goesOn ? "none" : "all";
      if (goesOn) await acknowledge(open.findLastIndex((mine) => mine.node === node));
    } else if (action === 3) await acknowledge(open.findIndex((mine) => !still.has(mine.node)));
    else if (action === 4) {
      const other = nodes[random.integer(nodes.length)];
      if (other && other !== node) await replicate(node, other);
    } else if (action === 5) await clock.advance(random.integer(9000));
    else if (!still.has(node)) {
      // Why a claim failed while it was cut off is told to whoever asks next.
      const delivery = await node.groups
        .take(id, { limit: 3, ackMs: 20_000 })
        .catch((error: SkerryError) => {
          assert.equal(error.code, "server-lost");
          return undefined;
        });
      if (delivery) open.push({ node, delivery });
    }
  };
  for (let round = 0; round < 600; round++) {
    const node = nodes[random.integer(nodes.length)];
    assert.ok(node);
    await step(node);
  }
  for (const node of nodes) node.cut = "none";
  for (const from of nodes) for (const to of nodes) if (from !== to) await replicate(from, to);
  const all = [...next].flatMap(([name, end]) => range(1, end - 1).map((n) => `${name}/${n}`));
  const twice = new Set(
    [...next.values()].flatMap((end) =>
      range(1, end - 1).flatMap((n) => (n % 5 === 1 || n % 5 === 2 ? [`all/${n}`] : [])),
    ),
  );
  const [last] = nodes;
  assert.ok(last);
  // The others' members went away, and their batches are overdue.
  await clock.advance(700_000);
  while (new Set(acknowledged).size < all.length + twice.size) {
    const delivery = await taken(last, clock);
    const answer = await last.groups.ack(id, delivery.delivery);
    if (answer.state === "acknowledged") acknowledged.push(...keysIn(delivery));
  }
  const [often, once] = [true, false].map((isOften) =>
    acknowledged.filter((key) => key.startsWith("all/") === isOften),
  );
  assert.deepEqual(once?.toSorted(), all.toSorted(), "each once, none lost");
  assert.deepEqual(new Set(often), twice, "none lost that stands under several positions");
});

test("C8: a lost answer is asked for again, a batch comes again after its deadline, and counts once", async (t) => {
  const { clock, start } = simulated(t);
  const one = await start("n1");
  await append(one, 1, 4);
  await one.groups.create(id, { from: "oldest" });
  const slow = await one.groups.take(id, { limit: 2, ackMs: 1000 });
  assert.equal(await one.groups.extend(id, slow?.delivery ?? "", 2000), true);
  await clock.advance(1500);
  assert.equal(await one.groups.take(id, { limit: 2, ackMs: 1000 }), undefined);
  await clock.advance(600);
  const again = await one.groups.take(id, { limit: 2, ackMs: 60_000 });
  assert.deepEqual([keysIn(again), again?.attempt], [keysIn(slow), 2]);
  assert.equal(await one.groups.extend(id, slow?.delivery ?? "", 2000), false);
  one.cut = "answers";
  await assert.rejects(one.groups.ack(id, slow?.delivery ?? ""), { code: "write-unknown" });
  one.cut = "none";
  assert.equal((await one.groups.ack(id, slow?.delivery ?? "")).state, "acknowledged");
  assert.equal((await one.groups.ack(id, again?.delivery ?? "")).state, "done-before");
  const given = await take(one);
  assert.equal(await one.groups.release(id, given?.delivery ?? ""), true);
  assert.deepEqual(keysIn(await take(one)), ["n1/3", "n1/4"]);
});

test("C9: a group is moved and removed from any node; its holder notices, and gives back what nobody asks for", async (t) => {
  const { clock, start } = simulated(t);
  const [one, two] = [await start("n1"), await start("n2")];
  await append(one, 1, 3);
  await replicate(one, two);
  await one.groups.create(id, { from: "newest" });
  assert.equal(await take(one), undefined);
  await two.groups.seek(id, { from: "oldest" });
  const first = await taken(one, clock);
  assert.deepEqual(keysIn(first), ["n1/1", "n1/2", "n1/3"]);
  const [, , third] = (await one.store.read({ stream: "telemetry" })).entries;
  await two.groups.seek(id, { fromMs: third?.atMs ?? 0 });
  assert.equal((await one.groups.ack(id, first.delivery)).state, "unknown");
  const moved = await taken(one, clock);
  assert.ok(keysIn(moved).includes("n1/3"));

  // Nobody asks at n1 any more: n2 has it without waiting for a lease.
  assert.equal(await one.groups.release(id, moved.delivery), true);
  await two.groups.seek(id, { from: "oldest" });
  await clock.advance(45_000);
  assert.equal((await two.groups.status(id)).holder, null);
  assert.deepEqual(keysIn(await take(two)), ["n1/1", "n1/2", "n1/3"]);

  assert.deepEqual(
    (await one.groups.list("telemetry")).map(({ group, holder }) => [group, holder]),
    [["billing", "n2"]],
  );
  await one.groups.remove(id);
  await assert.rejects(one.groups.status(id), { code: "group-unknown" });
  await assert.rejects(one.groups.take(id, {}), { code: "group-unknown" });
  for (const wrong of [
    () => one.groups.create({ ...id, group: "UP" }, { from: "oldest" }),
    () => one.groups.create({ ...id, stream: "x".repeat(121) }, { from: "oldest" }),
  ])
    await assert.rejects(wrong, { code: "invalid-group" });
  await assert.rejects(one.groups.create({ ...id, stream: "none" }, { from: "oldest" }), {
    code: "stream-unknown",
  });
  await assert.rejects(one.groups.create(id, { after: "a.1" }), { code: "invalid-request" });
  const refused = await one.groups.ack(id, "1.1.1", [entry(1, { stream: "diary" })]);
  assert.equal(refused.state === "refused" && refused.code, "invalid-request");
});

test("C6, C8: docs/streams.md as it teaches groups of the cell, by the client over HTTP", async (t) => {
  const { start } = world(t, systemClock);
  const { groups, store } = await start("n1");
  await store.append(range(1, 7).map((sequence) => entry(sequence)));
  const app = createHttpApp();
  t.after(() => app.close());
  const on: StreamStore["on"] = (event, listener) => store.on(event, listener);
  createGroupRoutes({ groups, on }, { clock: systemClock, folder: "cell-groups" })(app);
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  const docs = readFileSync(join(import.meta.dirname, "../../docs/streams.md"), "utf8");
  const [, section = ""] = /^### A group of the cell\n(.*?)(^## |$(?![\r\n]))/ms.exec(docs) ?? [];
  const [, example = ""] = /^```js\n(.*?)^```/ms.exec(section) ?? [];
  const AsyncFunction = (async () => {}).constructor as new (
    ...parts: string[]
  ) => (...parts: unknown[]) => Promise<unknown>;
  const seen: unknown[] = [];
  const stop = new AbortController();
  const charge = async ({ n }: { n: number }, key: string) => {
    seen.push([n, key.split("/").length]);
    if (seen.length === 7) stop.abort();
  };
  const code = example.replace('"scales"', '"telemetry"');
  await new AsyncFunction("client", "charge", "signal", code)(
    createClient({ url }),
    charge,
    stop.signal,
  );
  assert.deepEqual(
    seen,
    range(1, 7).map((n) => [n, 3]),
  );
  const group = createClient({ url }).group("telemetry", "billing", { scope: "cell" });
  const { holder, position } = await group.status();
  assert.deepEqual([holder, position], ["n1", undefined]);
  const asked = await fetch(`${url}/v1/streams/telemetry/cell-groups/billing/ack`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"delivery":"1.1.1"}',
  });
  const { error } = (await asked.json()) as { error: { code: string } };
  assert.deepEqual([asked.status, error.code], [409, "fenced"]);
});

test("C6: a ledger answers for groups to nodes only, and to what groups need", async (t) => {
  const clock = createSimulatedClock();
  const folder = temporaryFolder();
  const deps = { clock, random: seededRandom(1), log: silentLog };
  const ledger = openSqliteLedger({ ...deps, path: join(folder.path, "ledger.db") });
  const service = createCoordinationService({ ...deps, ledger }, { space: groupSpace });
  t.after(async () => {
    service.close();
    await ledger.close();
    folder[Symbol.dispose]();
  });
  const get = { type: "get", key: "telemetry/billing" } as const;
  for (const who of ["app/a", "user/admin", "ns/default/sa/x", "node/n1/x", "hub/main"])
    await assert.rejects(service.call({ id: `spiffe://mill.skerry/${who}`, token: "" }, get), {
      code: "forbidden",
    });
  const node = { id: "spiffe://mill.skerry/node/n1", token: "" };
  assert.equal((await service.call(node, get)).state, "item");
  await assert.rejects(service.call(node, { type: "describe" }), { code: "invalid-request" });
});
