/**
 * Stores that are not where they say: one that went back unawares (a machine put back to a snapshot, file
 * and marker together), and a peer that tells of more than it has. Nothing is lost, nothing is said to be
 * held by whoever does not hold it.
 */
import { strict as assert } from "node:assert";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { createCell, type Cell } from "../../src/drill/simulated/convergence/streams-cell.ts";
import { trustDomain, type Node } from "../../src/drill/simulated/convergence/streams-node.ts";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";
import { encodeBatch } from "../../src/data/batch/codec.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { entry, keysOf, range, readAll, telemetry, temporaryFolder } from "../support/data.ts";

async function withCell(
  names: readonly string[],
  work: (cell: Cell, clock: SimulatedClock) => Promise<void>,
) {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const cell = await createCell(
    { clock, random: seededRandom(11) },
    { folder: folder.path, names, streams: [telemetry], faults: noFaults },
  );
  await work(cell, clock);
  await cell.stop();
}

const nodeOf = (cell: Cell, name: string): Node => {
  const node = cell.nodes.get(name);
  assert.ok(node);
  return node;
};
const keys = (from: number, to: number) => range(from, to).map((n) => `p1/1/${n}`);
const append = (node: Node, from: number, to: number, level: "local" | "hub" | "peer") =>
  node.durability.append(
    range(from, to).map((n) => entry(n)),
    {
      level: level === "peer" ? { level, peers: 1 } : { level },
      timeoutMs: 5000,
    },
  );
async function settled<T>(clock: SimulatedClock, promise: Promise<T>): Promise<T> {
  const state = { done: false };
  const end = promise.finally(() => (state.done = true));
  for (let step = 0; !state.done && step < 1000; step++) await clock.advance(20);
  return end;
}
async function until(clock: SimulatedClock, what: string, isSo: () => Promise<boolean>) {
  for (let step = 0; step < 600; step++) {
    if (await isSo()) return;
    await clock.advance(100);
  }
  assert.fail(`waited a virtual minute for ${what}`);
}

/** An ordered stop: the marker says how far the log went. */
async function halt(cell: Cell, name: string) {
  const node = nodeOf(cell, name);
  node.up = false;
  for (const other of [...cell.nodes.keys(), "hub"]) if (other !== name) cell.cut(name, other);
  node.replication.stop();
  node.hubSync.stop();
  node.durability.stop();
  await node.store.close();
  return node.path;
}
const filesOf = (path: string) => [path, `${path}.origin`];
function snapshot(path: string): () => void {
  for (const file of filesOf(path)) copyFileSync(file, `${file}.kept`);
  return () => {
    for (const log of ["-wal", "-shm"]) rmSync(path + log, { force: true });
    // In place: the machine's disk went back, so inodes are what they were.
    for (const file of filesOf(path)) writeFileSync(file, readFileSync(`${file}.kept`));
  };
}

/** What it wrote into its log in the life that is lost. */
const otherLife = (origin: string, from: number, to: number) =>
  range(from, to).map((n) => ({ ...entry(n), atMs: n, position: { origin, sequence: n } }));

test("D6, D7: a machine put back to a snapshot gives positions twice; the hub knows it, and gets every entry", () =>
  withCell(["n1"], async (cell, clock) => {
    cell.connect("n1", "hub");
    await settled(clock, append(nodeOf(cell, "n1"), 1, 5, "hub"));
    const putBack = snapshot(await halt(cell, "n1"));
    await cell.start("n1");
    cell.connect("n1", "hub");
    const told = await settled(clock, append(nodeOf(cell, "n1"), 6, 10, "hub"));
    assert.deepEqual(told.state === "reached" && told.reached.level, "hub");
    await halt(cell, "n1");
    putBack();

    await cell.start("n1");
    const node = nodeOf(cell, "n1");
    const atHub = async () => (await readAll(cell.hub)).map(({ key }) => `p1/1/${key?.sequence}`);
    const waiting = append(node, 20, 22, "hub");
    cell.connect("n1", "hub");
    const outcome = await settled(clock, waiting);
    if (outcome.state === "reached")
      assert.ok(new Set(await atHub()).isSupersetOf(new Set(keys(20, 22))), "said to be there");
    await until(clock, "all at the hub", async () => (await atHub()).length === 13);
    assert.deepEqual((await atHub()).sort(), [...keys(1, 10), ...keys(20, 22)].sort());
    const after = await settled(clock, append(node, 23, 23, "hub"));
    assert.equal(after.state === "reached" && after.reached.level, "hub");
    assert.deepEqual((await atHub()).at(-1), "p1/1/23");
  }));

test("D6, D7: the same before a peer: no entry is said to be there that is not, and all meet", () =>
  withCell(["n1", "n2"], async (cell, clock) => {
    cell.connect("n1", "n2");
    await settled(clock, append(nodeOf(cell, "n1"), 1, 5, "peer"));
    const putBack = snapshot(await halt(cell, "n1"));
    await cell.start("n1");
    cell.connect("n1", "n2");
    await settled(clock, append(nodeOf(cell, "n1"), 6, 10, "peer"));
    await halt(cell, "n1");
    putBack();

    await cell.start("n1");
    const [one, two] = [nodeOf(cell, "n1"), nodeOf(cell, "n2")];
    const waiting = append(one, 20, 22, "peer");
    cell.connect("n1", "n2");
    const outcome = await settled(clock, waiting);
    if (outcome.state === "reached")
      assert.ok(new Set(await keysOf(two.store)).isSupersetOf(new Set(keys(20, 22))), "is there");
    const all = [...keys(1, 10), ...keys(20, 22)].sort();
    for (const { name, store } of [one, two])
      await until(clock, `all on ${name}`, async () => (await keysOf(store)).length === all.length);
    for (const { store } of [one, two]) assert.deepEqual((await keysOf(store)).sort(), all);
  }));

test("D6, D7: put back to an image of its disk, it writes more than it had lost before it meets anybody: all meet, and nobody is said to hold what they lack", () =>
  withCell(["n1", "n2", "n3"], async (cell, clock) => {
    cell.connect("n1", "hub");
    cell.connect("n1", "n2");
    await settled(clock, append(nodeOf(cell, "n1"), 1, 5, "hub"));
    const putBack = snapshot(await halt(cell, "n1"));
    await cell.start("n1");
    cell.connect("n1", "hub");
    cell.connect("n1", "n2");
    await settled(clock, append(nodeOf(cell, "n1"), 6, 10, "hub"));
    await until(clock, "all on n2", async () => {
      return (await keysOf(nodeOf(cell, "n2").store)).length === 10;
    });
    await halt(cell, "n1");
    putBack();
    await cell.start("n1");
    const [one, two, three] = ["n1", "n2", "n3"].map((name) => nodeOf(cell, name));
    assert.ok(one && two && three);
    // Ten of its own, where it had lost five; and who knew nothing of these is met first.
    await append(one, 20, 29, "local");
    cell.connect("n1", "n3");
    await until(clock, "n3", async () => (await keysOf(three.store)).length >= 15);
    for (const other of ["n2", "hub"]) cell.connect("n1", other);
    const atHub = async () => (await readAll(cell.hub)).map(({ key }) => `p1/1/${key?.sequence}`);
    const again = await settled(clock, append(one, 20, 29, "hub"));
    if (again.state === "reached")
      assert.ok(new Set(await atHub()).isSupersetOf(new Set(keys(20, 29))), "said to be there");
    const all = [...keys(1, 10), ...keys(20, 29)].sort();
    await until(clock, "all at the hub", async () => (await atHub()).length === all.length);
    assert.deepEqual((await atHub()).sort(), all);
    for (const { name, store } of [one, two, three]) {
      await until(clock, `all on ${name}`, async () => (await keysOf(store)).length === all.length);
      assert.deepEqual((await keysOf(store)).sort(), all);
    }
  }));

test("D6, D7: put back with its memory, it meets a hub with more of its log: what the hub had told of stays", () =>
  withCell(["n1"], async (cell, clock) => {
    const one = nodeOf(cell, "n1");
    cell.connect("n1", "hub");
    await settled(clock, append(one, 1, 5, "hub"));
    cell.cut("n1", "hub");
    const [own = ""] = Object.keys(await one.store.vector());
    const entries = otherLife(own, 6, 9);
    const policies = { telemetry: { drop: [] } };
    await cell.hub.ingest(
      "cell-a",
      encodeBatch({ origin: own, from: 6, to: 9, entries, policies }),
    );
    await append(one, 20, 22, "local");
    cell.connect("n1", "hub");
    const atHub = async () => (await readAll(cell.hub)).map(({ key }) => `p1/1/${key?.sequence}`);
    await until(clock, "all at the hub", async () => (await atHub()).length === 12);
    assert.deepEqual((await atHub()).sort(), [...keys(1, 9), ...keys(20, 22)].sort());
    const { [own]: before, ...now } = await one.store.vector();
    assert.deepEqual([before, Object.values(now)], [5, [3]]);
  }));

/** Two nodes that are cut off: both have 1 to 5 of n1's log, and n2 what n1 wrote behind that and forgot. */
async function putBack(cell: Cell, clock: SimulatedClock) {
  const [one, two] = [nodeOf(cell, "n1"), nodeOf(cell, "n2")];
  cell.connect("n1", "n2");
  await settled(clock, append(one, 1, 5, "peer"));
  cell.cut("n1", "n2");
  const [own = ""] = Object.keys(await one.store.vector());
  const entries = otherLife(own, 6, 9);
  await two.store.apply(encodeBatch({ origin: own, from: 6, to: 9, entries }));
  return { one, two, own };
}

for (const { witness, level } of [
  { witness: "n2", level: "hub" },
  { witness: "hub", level: "peer" },
] as const)
  test(`D6, D7: a log that was given up before ${witness} covers no write at ${level}, whatever is told of it there`, () =>
    withCell(["n1", "n2"], async (cell, clock) => {
      cell.connect("n1", "hub");
      await settled(clock, append(nodeOf(cell, "n1"), 1, 5, "hub"));
      cell.cut("n1", "hub");
      const { one, two, own } = await putBack(cell, clock);
      const pieces = { origin: own, from: 6, to: 9, entries: otherLife(own, 6, 9) };
      const policies = { telemetry: { drop: [] } };
      await cell.hub.ingest("cell-a", encodeBatch({ ...pieces, policies }));
      const waiting = append(one, 20, 22, level);
      cell.connect("n1", witness);
      const logs = async () => Object.keys(await one.store.vector()).length;
      await until(clock, "another log", async () => (await logs()) === 2);
      const there = async () =>
        level === "peer"
          ? await keysOf(two.store)
          : (await readAll(cell.hub)).map(({ key }) => `p1/1/${key?.sequence}`);
      const said = waiting.then(async ({ state }) => ({ state, keys: new Set(await there()) }));
      cell.connect("n1", level === "hub" ? "hub" : "n2");
      const { state, keys: held } = await settled(clock, said);
      if (state === "reached") assert.ok(held.isSupersetOf(new Set(keys(20, 22))), "is there");
      await until(clock, `all at ${level}`, async () => (await there()).length === 12);
      const after = await settled(clock, append(one, 23, 23, level));
      assert.equal(after.state, "reached");
    }));

test("D6, D7: put back with its memory, it meets a peer with more of its log: what both have stays, the rest moves", () =>
  withCell(["n1", "n2"], async (cell, clock) => {
    const { one, two, own } = await putBack(cell, clock);
    await append(one, 20, 22, "local");
    cell.connect("n1", "n2");
    const all = [...keys(1, 9), ...keys(20, 22)].sort();
    for (const { name, store } of [one, two]) {
      await until(clock, `all on ${name}`, async () => (await keysOf(store)).length === all.length);
      assert.deepEqual((await keysOf(store)).sort(), all);
    }
    const { [own]: before, ...now } = await two.store.vector();
    assert.deepEqual([before, Object.values(now)], [9, [3]]);
  }));

test("D6, D7: put back with its memory, it wrote more than it had lost before it meets a peer: all meet just so", () =>
  withCell(["n1", "n2"], async (cell, clock) => {
    const { one, two, own } = await putBack(cell, clock);
    await append(one, 20, 29, "local");
    cell.connect("n1", "n2");
    const again = await settled(clock, append(one, 20, 29, "peer"));
    if (again.state === "reached")
      assert.ok(new Set(await keysOf(two.store)).isSupersetOf(new Set(keys(20, 29))), "is there");
    const all = [...keys(1, 9), ...keys(20, 29)].sort();
    for (const { name, store } of [one, two]) {
      await until(clock, `all on ${name}`, async () => (await keysOf(store)).length === all.length);
      assert.deepEqual((await keysOf(store)).sort(), all);
    }
    const { [own]: before, ...now } = await two.store.vector();
    assert.deepEqual([before, Object.values(now)], [9, [10]]);
    assert.deepEqual(one.replication.doubted(), []);
  }));

test("D6, D7: put back with its memory, it wrote more than it had lost: what a peer tells of it before it was met covers no write", () =>
  withCell(["n1", "n2"], async (cell, clock) => {
    const { one, two } = await putBack(cell, clock);
    const said = append(one, 20, 22, "peer").then(async ({ state }) => ({
      state,
      keys: new Set(await keysOf(two.store)),
    }));
    await append(one, 23, 29, "local");
    cell.connect("n1", "n2");
    const { state, keys: held } = await settled(clock, said);
    if (state === "reached") assert.ok(held.isSupersetOf(new Set(keys(20, 22))), "is there");
    await until(clock, "all on n2", async () => (await keysOf(two.store)).length === 19);
    assert.equal((await settled(clock, append(one, 30, 30, "peer"))).state, "reached");
  }));

test("D6: a peer that cannot read what it is asked for when it is met is sent the log all the same", () =>
  withCell(["n1", "n2"], async (cell, clock) => {
    const [one, two] = [nodeOf(cell, "n1"), nodeOf(cell, "n2")];
    cell.connect("n1", "n2");
    await settled(clock, append(one, 1, 5, "peer"));
    cell.cut("n1", "n2");
    // Nor can it pull from here what it is not sent.
    for (const { router } of [one, two])
      router.handle("data.pull", () => {
        throw new SkerryError({ code: "segment-damaged", message: "a piece of the log is torn" });
      });
    cell.connect("n1", "n2");
    const outcome = await settled(clock, append(one, 6, 8, "peer"));
    assert.equal(outcome.state, "reached");
  }));

test("D7: links that come and go find the same log, and no new one is begun", () =>
  withCell(["n1", "n2"], async (cell, clock) => {
    const one = nodeOf(cell, "n1");
    for (let turn = 0; turn < 5; turn++) {
      cell.connect("n1", "n2");
      await settled(clock, append(one, turn * 3 + 1, turn * 3 + 3, "peer"));
      await append(one, 100 + turn, 100 + turn, "local");
      cell.cut("n1", "n2");
      await append(one, 200 + turn, 200 + turn, "local");
    }
    assert.deepEqual(Object.values(await one.store.vector()), [25]);
  }));

test("D6, D9: a peer that tells of more than there is, and shows nothing, costs neither entries nor rest", () =>
  withCell(["n1", "n2"], async (cell, clock) => {
    const [one, two] = [nodeOf(cell, "n1"), nodeOf(cell, "n2")];
    await append(one, 1, 5, "local");
    const [own = ""] = Object.keys(await one.store.vector());
    const claims = { [own]: 1_000_000, "n9.never": 500, "n2.invented": 70 };
    const router = virtualRouter();
    const asked = new Map<string, number>();
    const answer = (method: string, bytes: () => Uint8Array) =>
      router.handle(`data.${method}`, async ({ body }) => {
        const isOwn = method === "pull" && Buffer.from(body).includes(own);
        const what = isOwn ? "pull of its own" : method;
        asked.set(what, (asked.get(what) ?? 0) + 1);
        return bytes();
      });
    const text = (value: unknown) => new Uint8Array(Buffer.from(JSON.stringify(value)));
    answer("vector", () => text(claims));
    answer("push", () => text({ state: "applied", origin: own, top: 1_000_000, stored: 0 }));
    answer("pull", () => new Uint8Array());
    const link = virtualLink(
      { clock, random: seededRandom(3), faults: () => noFaults },
      {
        left: { peer: peerOf(trustDomain, "node", "n1"), router: one.router },
        right: { peer: peerOf(trustDomain, "node", "n9"), router },
      },
    );
    one.replication.setNodes(["n1", "n2", "n9"]);
    one.replication.attach(link.left);
    // Nobody has it: no other node is linked, and who tells of a million did not take these three.
    const outcome = await settled(clock, append(one, 6, 8, "peer"));
    assert.equal(outcome.state, "short", JSON.stringify(outcome));
    for (let second = 0; second < 60; second++) await clock.advance(1000);
    assert.deepEqual(await one.store.vector(), { [own]: 8 }, "nothing was shown");
    assert.deepEqual(one.replication.doubted(), ["n9"]);
    for (const [method, times] of asked)
      assert.ok(times < (method === "pull of its own" ? 4 : 400), `${times} times ${method}`);
    cell.connect("n1", "n2");
    const honest = await settled(clock, append(one, 9, 9, "peer"));
    assert.equal(honest.state, "reached");
    await until(clock, "all on n2", async () => (await keysOf(two.store)).length === 9);
    assert.deepEqual((await keysOf(two.store)).sort(), keys(1, 9));
    link.cut();
  }));
