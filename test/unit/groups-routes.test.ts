/** Consumer groups below the gateway's routes, over a store in this process. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { parseDurabilityLevel, type DurabilityLevel } from "../../src/api/index.ts";
import {
  createDurability,
  createGroupRoutes,
  openStreamStore,
  type Vector,
} from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createSignals } from "../../src/lib/signals.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { diary, entry, keysOf, range, telemetry, temporaryFolder } from "../support/data.ts";
import { waitFor } from "../support/wait.ts";

async function call(url: string, method: string, body?: object) {
  const answer = await fetch(url, {
    method,
    ...(body ? { headers: { "content-type": "application/json" } } : {}),
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const text = await answer.text();
  return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
}

test("C1: what was taken for a member that left meanwhile is given back; where its group is gone nothing happens", async () => {
  using folder = temporaryFolder();
  const store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path: `${folder.path}/s.db`, node: "n1" },
  );
  await store.setStreams([telemetry]);
  await store.append(range(1, 10).map((sequence) => entry(sequence)));
  let taking = Promise.withResolvers<void>();
  let answered = Promise.withResolvers<void>();
  let left = Promise.withResolvers<void>();
  const releases: Promise<boolean>[] = [];
  const groups: typeof store.groups = {
    ...store.groups,
    async take(id, options) {
      const taken = await store.groups.take(id, options);
      if (options.member !== "leaver") return taken;
      taking.resolve();
      await answered.promise;
      return taken;
    },
    release(id, delivery) {
      const released = store.groups.release(id, delivery);
      releases.push(released);
      return released;
    },
  };
  const app = createHttpApp();
  app.addHook("onRequest", (_request, reply, done) => {
    reply.raw.once("close", () => {
      if (!reply.raw.writableFinished) left.resolve();
    });
    done();
  });
  createGroupRoutes({ on: store.on, groups }, { clock: systemClock })(app);
  const at = `${await app.listen({ host: "127.0.0.1", port: 0 })}/v1/streams/telemetry/groups/g`;
  try {
    for (const isGone of [false, true]) {
      assert.equal((await call(at, "PUT")).status, 201);
      taking = Promise.withResolvers();
      answered = Promise.withResolvers();
      left = Promise.withResolvers();
      const control = new AbortController();
      const asked = fetch(`${at}/take`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"member":"leaver"}',
        signal: control.signal,
      });
      await taking.promise;
      control.abort();
      await assert.rejects(asked);
      await left.promise;
      if (isGone) assert.equal((await call(at, "DELETE")).status, 204);
      answered.resolve();
      await waitFor(() => releases.length > 0, { what: "the batch to be given back" });
      const [release] = releases.splice(0);
      assert.ok(release);
      // Were it nobody's, this rejection would end the process.
      if (isGone) await assert.rejects(release, { code: "group-unknown" });
      else assert.equal(await release, true);
      if (isGone) continue;
      const { body } = await call(`${at}/take`, "POST", {});
      assert.deepEqual([body.entries.length, body.attempt], [10, 2]);
      assert.equal((await call(at, "DELETE")).status, 204);
    }
    assert.equal((await call(at, "GET")).status, 404);
  } finally {
    await app.close();
    await store.close();
  }
});

/** A store with a group `g` of `telemetry`, beside another node that has what `peer` says. */
async function withPeer(
  work: (node: {
    call: (method: string, path: string, body?: object) => ReturnType<typeof call>;
    store: ReturnType<typeof openStreamStore>;
    clock: ReturnType<typeof createSimulatedClock>;
    /** The other node has everything. */
    copied(): Promise<void>;
    declare(levels: Record<string, string>): void;
  }) => Promise<void>,
) {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const store = openStreamStore(
    { clock, random: systemRandom, log: silentLog },
    { path: `${folder.path}/s.db`, node: "n1" },
  );
  await store.setStreams([telemetry, diary]);
  await store.append(range(1, 10).map((sequence) => entry(sequence)));
  const changes = createSignals<{ vectors: object }>({
    onListenerError: (error) => assert.fail(String(error)),
  });
  let peer: Vector = {};
  let levels: Record<string, string> = {};
  const durability = createDurability({
    store,
    peers: { vectorsByNode: () => new Map([["n2", peer]]), on: changes.on },
    cellNodes: () => 2,
    leaves: () => false,
    clock,
    log: silentLog,
  });
  const levelOf = (stream: string) =>
    parseDurabilityLevel(levels[stream] ?? "local") as DurabilityLevel;
  const app = createHttpApp();
  createGroupRoutes(store, { clock, levels: { durability, levelOf } })(app);
  const at = `${await app.listen({ host: "127.0.0.1", port: 0 })}/v1/streams/telemetry/groups/g`;
  try {
    await call(at, "PUT");
    await work({
      ...{ store, clock },
      call: (method, path, body) => call(`${at}${path}`, method, body),
      async copied() {
        peer = await store.vector();
        changes.emit("vectors", {});
      },
      declare(next) {
        levels = next;
      },
    });
  } finally {
    await app.close();
    durability.stop();
    await store.close();
  }
}

const result = (n: number, stream = "diary") => ({ stream, body: { n } });

test("C3, D6: results are acknowledged where their streams declare them to be, and say how far they are", () =>
  withPeer(async ({ call, store, clock, copied, declare }) => {
    const take = async () => (await call("POST", "/take", { limit: 1 })).body.delivery as string;
    const ack = async (...results: object[]) => {
      const sent = { delivery: await take(), results };
      const before = (await keysOf(store, { stream: "diary" })).length;
      let isOver = false;
      const answer = call("POST", "/ack", sent).finally(() => (isOver = true));
      const stored = async () =>
        (await keysOf(store, { stream: "diary" })).length === before + results.length;
      await waitFor(stored, { what: "the results to be committed" });
      return { sent, answer, isOver: () => isOver };
    };
    assert.deepEqual(await (await ack(result(1))).answer, {
      status: 200,
      body: { state: "acknowledged", reached: "local", stored: 1, duplicates: 0 },
    });

    declare({ diary: "peer(1)" });
    const waiting = await ack(result(2));
    // Another request has gone the whole way and back meanwhile.
    assert.equal((await call("GET", "")).status, 200);
    assert.equal(waiting.isOver(), false);
    await copied();
    assert.deepEqual(await waiting.answer, {
      status: 200,
      body: { state: "acknowledged", reached: "peer(1)", stored: 1, duplicates: 0 },
    });

    const timeOut = async <T>(answer: Promise<T>): Promise<T> => {
      const ended = Promise.withResolvers<true>();
      answer.then(() => ended.resolve(true), ended.reject);
      const turn = () => new Promise<false>((resolve) => setImmediate(resolve, false));
      while (!(await Promise.race([ended.promise, turn()]))) await clock.advance(1000);
      return answer;
    };
    const short = await ack(result(3));
    const isShort = { reached: "local", asked: "peer(1)" };
    assert.deepEqual(await timeOut(short.answer), {
      status: 202,
      body: { state: "acknowledged", ...isShort, stored: 1, duplicates: 0 },
    });
    assert.ok(clock.monotonicMs() >= 10_000);
    // An answer that was lost is asked for again: what it stands for is no further than it is.
    const again = () => call("POST", "/ack", short.sent);
    assert.deepEqual(await timeOut(again()), {
      status: 202,
      body: { state: "done-before", ...isShort },
    });
    await copied();
    assert.deepEqual(await again(), {
      status: 200,
      body: { state: "done-before", reached: "peer(1)" },
    });
    // Without results there is nothing to be anywhere.
    assert.deepEqual((await call("POST", "/ack", { delivery: await take() })).body, {
      state: "acknowledged",
    });
  }));

test("C5, D6: results that can never be where they shall be are refused, and the batch stays", () =>
  withPeer(async ({ call, store, copied, declare }) => {
    const { body } = await call("POST", "/take", {});
    const ack = (...results: object[]) =>
      call("POST", "/ack", { delivery: body.delivery, results });
    for (const diary of ["peer(2)", "hub"]) {
      declare({ diary });
      const refused = await ack(result(1, "telemetry"), result(2));
      assert.deepEqual([refused.status, refused.body.error.code], [400, "level-impossible"]);
    }
    assert.deepEqual(await keysOf(store, { stream: "diary" }), []);
    // Of streams with several levels the answer is what holds for all of it.
    declare({ telemetry: "memory", diary: "peer(1)" });
    const mixed = ack(result(1, "telemetry"), result(2));
    const stored = async () => (await keysOf(store, { stream: "diary" })).length === 1;
    await waitFor(stored, { what: "the results to be committed" });
    await copied();
    const { status, body: told } = await mixed;
    assert.deepEqual([status, told.reached, told.stored], [200, "peer(1)", 2]);
  }));

test("D6: of a result that came before, and that retention removed since, no more than local is said", () =>
  withPeer(async ({ call, store, copied, declare }) => {
    const key = { producer: "p1", epoch: 1, sequence: 1 };
    await store.append([entry(1, { stream: "diary" })]);
    await store.setStreams([telemetry, { ...diary, retention: { bytesMax: 1 } }]);
    await store.retain();
    await copied();
    declare({ diary: "peer(1)" });
    const { delivery } = (await call("POST", "/take", {})).body;
    const results = [{ ...result(1), key }];
    assert.deepEqual(await call("POST", "/ack", { delivery, results }), {
      status: 200,
      body: { state: "acknowledged", reached: "local", stored: 0, duplicates: 1, removed: 1 },
    });
  }));

test("C1, C3: a batch that nobody can work on comes first again, holds up no other, and is set aside once", () =>
  withPeer(async ({ call, store }) => {
    const take = async () => (await call("POST", "/take", { limit: 4 })).body;
    const cursorsOf = ({ entries }: { entries: { cursor: string }[] }) =>
      entries.map(({ cursor }) => cursor);
    const poison = await take();
    for (let attempt = 2; attempt <= 6; attempt++) {
      const { delivery } = attempt === 2 ? poison : await take();
      // Somebody else has the next ones meanwhile.
      const other = await take();
      assert.equal(other.entries.length, 4);
      assert.ok(!cursorsOf(other).some((cursor) => cursorsOf(poison).includes(cursor)));
      for (const given of [delivery, other.delivery])
        assert.deepEqual((await call("POST", "/release", { delivery: given })).body, {
          held: true,
        });
    }
    const last = await take();
    assert.deepEqual([cursorsOf(last), last.attempt], [cursorsOf(poison), 6]);
    const results = last.entries.map((entry: { cursor: string; body: object }) => ({
      stream: "diary",
      body: { cursor: entry.cursor, body: entry.body },
    }));
    const { delivery } = last;
    for (const state of ["acknowledged", "done-before"])
      assert.equal((await call("POST", "/ack", { delivery, results })).body.state, state);
    assert.equal((await keysOf(store, { stream: "diary" })).length, 4);
    assert.ok(!cursorsOf(await take()).some((cursor) => cursorsOf(poison).includes(cursor)));
  }));
