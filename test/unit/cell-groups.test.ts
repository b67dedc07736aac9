/**
 * Consumer groups of the cell in virtual time: nodes with stores of their own, one ledger, and cuts
 * between them. What they promise stands in src/data/README.md (C6 to C9).
 */
import { strict as assert } from "node:assert";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { groupLedgerOf } from "../../src/agent/group-ledger.ts";
import { folded, requireRoom } from "../../src/data/streams/cell-groups/fold.ts";
import { createClient } from "../../src/client/index.ts";
import {
  createCellGroups,
  createGroupRoutes,
  openStreamStore,
  type CellGroups,
  type Delivery,
  type StreamStore,
} from "../../src/data/index.ts";
import {
  createCoordinationService,
  groupSpace,
  type Coordination,
} from "../../src/ledger/applications/index.ts";
import { openSqliteLedger } from "../../src/ledger/index.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { encodeError, SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { diary, entry, range, telemetry, temporaryFolder } from "../support/data.ts";

const id = { stream: "telemetry", group: "billing" };

type TestNode = {
  readonly name: string;
  store: StreamStore;
  readonly groups: CellGroups;
  /** To and from the ledger: nothing passes, or what was done is not told. */
  cut: "none" | "all" | "answers";
};

type World<C> = {
  readonly clock: C;
  start(name: string, options?: { foldBytes?: number }): Promise<TestNode>;
  /** Its store takes a new incarnation, with everything that it had. */
  crash(node: TestNode): Promise<void>;
};

const simulated = (t: TestContext) => world(t, createSimulatedClock());

function world<C extends Clock>(t: TestContext, clock: C): World<C> {
  const folder = temporaryFolder();
  const deps = { clock, random: seededRandom(1), log: silentLog };
  const ledger = openSqliteLedger({ ...deps, path: join(folder.path, "ledger.db") });
  const service = createCoordinationService({ ...deps, ledger }, { space: groupSpace });
  const nodes: TestNode[] = [];
  t.after(async () => {
    for (const node of nodes) {
      node.cut = "none";
      await node.groups.stop();
      await node.store.close();
    }
    service.close();
    await ledger.close();
    folder[Symbol.dispose]();
  });
  const pathOf = (name: string) => join(folder.path, `${name}.db`);
  const open = async (name: string) => {
    const store = openStreamStore(
      { clock: systemClock, random: systemRandom, log: silentLog },
      { path: pathOf(name), node: name },
    );
    await store.setStreams([telemetry, diary]);
    return store;
  };
  const lost = () =>
    new SkerryError({ code: "server-lost", message: "the cable is pulled", retryable: true });
  return {
    clock,
    async crash(node) {
      await node.store.close();
      rmSync(`${pathOf(node.name)}.origin`);
      node.store = await open(node.name);
    },
    async start(name, options = {}) {
      const store = await open(name);
      const through: Coordination = {
        async call(...asked) {
          if (node.cut === "all") throw lost();
          const answer = await service.call(...asked);
          if (node.cut === "answers" && asked[1].type === "put")
            return { state: "unknown", cause: encodeError(lost()) };
          return answer;
        },
        stream: service.stream,
      };
      const me = { node: name, id: `spiffe://mill.skerry/node/${name}` };
      const node: TestNode = {
        name,
        store,
        groups: createCellGroups(
          {
            store: {
              read: (query) => node.store.read(query),
              vector: () => node.store.vector(),
              beyond: (query) => node.store.beyond(query),
            },
            ledger: groupLedgerOf(through, me),
            clock,
            log: silentLog,
          },
          { ttlMs: 10_000, ...options },
        ),
        cut: "none",
      };
      nodes.push(node);
      return node;
    },
  };
}

const append = (node: TestNode, from: number, to: number, producer = node.name) =>
  node.store.append(range(from, to).map((sequence) => entry(sequence, { producer })));

/** Every log that one has and the other lacks. */
async function replicate(from: TestNode, to: TestNode): Promise<void> {
  const has = await to.store.vector();
  for (const [origin, top] of Object.entries(await from.store.vector())) {
    let at = has[origin] ?? 0;
    while (at < top) {
      const batch = await from.store.log({ origin, from: at + 1 });
      assert.ok(batch);
      await to.store.apply(batch.bytes);
      at = batch.to;
    }
  }
}

const keysIn = (taken: Delivery | undefined) =>
  (taken?.entries ?? []).map(({ key }) => `${key?.producer}/${key?.sequence}`);
const take = (node: TestNode, limit = 4) => node.groups.take(id, { limit, ackMs: 600_000 });

/** Takes whenever time has passed, as a member does that waits. */
async function taken(node: TestNode, clock: SimulatedClock): Promise<Delivery> {
  for (let rounds = 0; rounds < 200; rounds++) {
    const delivery = await take(node).catch((error: SkerryError) => {
      assert.equal(error.code, "server-lost");
      return undefined;
    });
    if (delivery) return delivery;
    await clock.advance(500);
  }
  return assert.fail(`${node.name} never got the group`);
}

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

/** As if all that there is had become too old. */
async function forget(node: TestNode): Promise<void> {
  await node.store.setStreams([{ ...telemetry, retention: { bytesMax: 1 } }, diary]);
  await node.store.retain();
  await node.store.setStreams([telemetry, diary]);
}

for (const seed of [1, 2])
  test(`C10: over crashes without end the position stays small, and every entry is acknowledged once (seed ${seed})`, async (t) => {
    const { clock, start, crash } = simulated(t);
    const foldBytes = 700;
    const nodes = [
      await start("n1", { foldBytes }),
      await start("n2", { foldBytes }),
      await start("n3", { foldBytes }),
    ];
    const [first] = nodes;
    assert.ok(first);
    await first.groups.create(id, { from: "oldest" });
    const random = seededRandom(seed);
    const any = () => nodes[random.integer(nodes.length)] ?? first;
    const sent: string[] = [];
    const acknowledged: string[] = [];
    const origins = new Set<string>();
    let sequence = 1;
    let greatest = 0;
    const work = async (node: TestNode) => {
      const delivery = await node.groups
        .take(id, { limit: 1 + random.integer(5), ackMs: 1000 })
        .catch((error: SkerryError) => assert.equal(error.code, "server-lost"));
      // Some die with what they took.
      if (!delivery || random.integer(4) === 0) return;
      const answer = await node.groups
        .ack(id, delivery.delivery)
        .catch((error: SkerryError) => ({ state: error.code }));
      if (answer.state === "acknowledged") {
        acknowledged.push(...keysIn(delivery));
        for (const { position } of delivery.entries) origins.add(position.origin);
      } else assert.ok(["fenced", "server-lost", "unknown"].includes(answer.state), answer.state);
    };
    for (let round = 0; round < 40; round++) {
      for (let step = 0; step < 30; step++) {
        const node = any();
        const dice = random.integer(12);
        if (dice < 3) {
          await append(node, sequence, sequence + 2);
          for (const n of range(sequence, sequence + 2)) sent.push(`${node.name}/${n}`);
          sequence += 3;
        } else if (dice === 3) await crash(node);
        else if (dice === 4) node.cut = node.cut === "none" ? "all" : "none";
        else if (dice < 7) await replicate(node, any());
        else if (dice === 7) await clock.advance(random.integer(9000));
        else await work(node);
      }
      // All of it is everywhere, acknowledged, and then too old. Who drains it differs.
      for (const node of nodes) node.cut = "none";
      for (const from of nodes) for (const to of nodes) if (from !== to) await replicate(from, to);
      const holder = any();
      while (new Set(acknowledged).size < sent.length) {
        await clock.advance(2000);
        await work(holder);
      }
      for (const node of nodes) await forget(node);
      const { positions } = await holder.groups.status(id);
      greatest = Math.max(greatest, Object.keys(positions).length);
    }
    assert.deepEqual(acknowledged.toSorted(), sent.toSorted(), "each once, none lost");
    assert.ok(origins.size > 60, `${origins.size} incarnations test little`);
    // 700 bytes are some 25 of these names; what comes of one round may stand beside.
    assert.ok(greatest <= 40, `the position names ${greatest} of ${origins.size} logs`);
    t.diagnostic(`${sent.length} entries of ${origins.size} logs, ${greatest} named at most`);
  });

test("C10: an origin that left the position is delivered again rather than passed over", async (t) => {
  const { clock, start, crash } = simulated(t);
  const [one, two] = [await start("n1", { foldBytes: 1 }), await start("n2", { foldBytes: 1 })];
  await one.groups.create(id, { from: "oldest" });
  await append(one, 1, 2);
  await replicate(one, two);
  const first = await take(one);
  await one.groups.ack(id, first?.delivery ?? "");
  const [origin = ""] = Object.keys((await one.groups.status(id)).positions);
  // What this node still has stays in the position, however large that is.
  assert.ok(origin.startsWith("n1."));
  await append(one, 3, 4);
  await crash(one);
  await append(one, 5, 6);
  await forget(one);
  await append(one, 7, 8);
  await clock.advance(61_000);
  const second = await taken(one, clock);
  assert.equal((await one.groups.ack(id, second.delivery)).state, "acknowledged");
  assert.deepEqual(
    Object.keys((await one.groups.status(id)).positions).includes(origin),
    false,
    "nothing of it is here",
  );
  // The other one still has entries of the log that left.
  await one.groups.stop();
  await replicate(one, two);
  const again: string[] = [];
  while (!again.includes("n1/2")) {
    const delivery = await taken(two, clock);
    again.push(...keysIn(delivery));
    assert.equal((await two.groups.ack(id, delivery.delivery)).state, "acknowledged");
  }
  assert.equal((await two.groups.status(id)).lag, 0);
});

test("C10: a position that is too large for the ledger is refused with what makes it smaller", async (t) => {
  const { start } = simulated(t);
  const one = await start("n1");
  const many = Object.fromEntries(range(1, 3000).map((n) => [`n${n}.mabcdef1${n}`, n]));
  const id_ = { stream: "telemetry", group: "big" };
  const record = { vector: many, places: { n1: "a.1", n2: "b.2" } };
  assert.throws(() => requireRoom(id_, record), {
    code: "position-too-large",
    hint: /retention/,
  });
  const all = { beyond: async () => ({ entries: 0, origins: Object.keys(many) }) };
  const options = { node: "n1", bytes: 1000 };
  assert.equal(Object.keys((await folded(all, id_, record, options)).vector).length, 3000);
  const none = { beyond: async () => ({ entries: 0, origins: [] }) };
  const small = await folded(none, id_, record, options);
  assert.ok(Buffer.byteLength(JSON.stringify(small)) < 1000);
  assert.equal((await one.store.beyond({ stream: "telemetry", vector: {} })).entries, 0);
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
