/** Coordination in virtual time: sessions that are paused, tokens that grow, turns; and its histories. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import * as fc from "fast-check";
import { createCoordination } from "../../src/client/index.ts";
import {
  checkLinearizable,
  type HistoryOperation,
} from "../../src/drill/checkers/linearizability.ts";
import { checkLocks, type GuardedWrite, type Hold } from "../../src/drill/checkers/locks.ts";
import {
  createCoordinationService,
  createRemoteCoordination,
  type Caller,
  type Coordination,
  type CoordinationAnswer,
  type CoordinationRequest,
} from "../../src/ledger/applications/index.ts";
import { parseRequest } from "../../src/ledger/applications/coordination.ts";
import { applicationOf, namespaceOf } from "../../src/ledger/applications/namespace.ts";
import { createTurns } from "../../src/ledger/applications/service/turns.ts";
import { openSqliteLedger, type Ledger, type LeaseId } from "../../src/ledger/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { temporaryFolder } from "../support/ledger.ts";

const caller: Caller = { id: "spiffe://mill.skerry/app/a", token: "good-a" };

type World = { clock: SimulatedClock; ledger: Ledger; service: Coordination };

async function world(t: TestContext): Promise<World> {
  const clock = createSimulatedClock();
  const random = seededRandom(1);
  const folder = await temporaryFolder();
  t.after(() => folder[Symbol.asyncDispose]());
  const deps = { clock, random, log: silentLog };
  const ledger = openSqliteLedger({ ...deps, path: join(folder.path, "ledger.db") });
  t.after(() => ledger.close());
  const service = createCoordinationService({ ...deps, ledger });
  t.after(() => service.close());
  return { clock, ledger, service };
}

const encode = (text: string) => Buffer.from(text).toString("base64");
const done = (answer: CoordinationAnswer) => {
  assert.ok(answer.state === "done", JSON.stringify(answer));
  return answer;
};

/** A client over a gateway that answers sessions from the service; `isCut` keeps it from answering. */
function clientOf({ clock, service }: World, link: { isCut: boolean }) {
  const answer = async (url: string, init: RequestInit | undefined): Promise<Response> => {
    if (link.isCut) {
      return await new Promise((_, reject) =>
        init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)),
      );
    }
    const { pathname } = new URL(url);
    const [, , , kind, id] = pathname.split("/");
    assert.equal(kind, "sessions");
    const request =
      id === undefined
        ? { type: "session-create", ...(JSON.parse(String(init?.body)) as object) }
        : { type: init?.method === "DELETE" ? "session-end" : "session-renew", session: id };
    try {
      return Response.json(await service.call(caller, parseRequest(request)));
    } catch (error) {
      const { code, message, retryable } = error as SkerryError;
      return Response.json({ error: { code, message, retryable } }, { status: 404 });
    }
  };
  return createCoordination({
    gateway: "http://gateway",
    token: "good-a",
    clock,
    random: seededRandom(2),
    fetch: (url, init) => answer(String(url), init),
  });
}

test("C5: a session is lost to its holder before the ledger gives to others what hung on it", async (t) => {
  const here = await world(t);
  const { clock, ledger } = here;
  const link = { isCut: false };
  const client = clientOf(here, link);
  const session = await client.session({ ttlMs: 10_000 });
  const held = { lostAtMs: 0, goneAtMs: 0 };
  session.lost.addEventListener("abort", () => (held.lostAtMs = clock.monotonicMs()));
  await clock.advance(60_000);
  assert.ok(!session.lost.aborted, "it renews itself");

  const cutAtMs = clock.monotonicMs();
  link.isCut = true;
  const key = namespaceOf("app:a").session(session.id);
  while (held.goneAtMs === 0) {
    await clock.advance(100);
    if (!(await ledger.get(key)).keyValue) held.goneAtMs = clock.monotonicMs();
    assert.ok(clock.monotonicMs() < cutAtMs + 60_000, "the session ends");
  }
  assert.ok(held.lostAtMs > 0 && held.lostAtMs < held.goneAtMs, JSON.stringify(held));
  assert.ok(held.lostAtMs <= cutAtMs + 9000, "nine tenths from the last answered renewal on");
  assert.equal((session.lost.reason as SkerryError).code, "session-lost");
});

test("C5: a link that comes back within the TTL costs nothing", async (t) => {
  const here = await world(t);
  const { clock } = here;
  const link = { isCut: false };
  const session = await clientOf(here, link).session({ ttlMs: 10_000 });
  for (let round = 0; round < 20; round++) {
    link.isCut = true;
    await clock.advance(4000);
    link.isCut = false;
    await clock.advance(4000);
    assert.ok(!session.lost.aborted, `round ${round}`);
  }
  assert.equal(await session.end(), "ended");
});

test("C5: a session that the cell ends is lost with the next renewal", async (t) => {
  const here = await world(t);
  const session = await clientOf(here, { isCut: false }).session({ ttlMs: 9000 });
  await here.ledger.revoke(session.id as LeaseId);
  await here.clock.advance(3100);
  assert.ok(session.lost.aborted);
  assert.match((session.lost.reason as SkerryError).message, /is over/);
  assert.equal(await session.end(), "ended");
});

test("C4: a holder that is paused beyond its lease can do no harm when it goes on", async (t) => {
  const { clock, service } = await world(t);
  const call = (request: CoordinationRequest) => service.call(caller, request);
  const session = async () =>
    done(await call({ type: "session-create", ttlMs: 2000 })).session ?? "";
  const lock = { kind: "lock", name: "press" } as const;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.boolean(), fc.nat(3)), { minLength: 1, maxLength: 12 }),
      async (rounds) => {
        let last = { token: 0, session: "" };
        const holds: Hold[] = [];
        const writes: GuardedWrite[] = [];
        const tick = () => clock.monotonicMs() + holds.length + writes.length * 0.001;
        const write = async (client: number, token: number) => {
          const calledAt = tick();
          const fence = { ...lock, token };
          const answer = await call({ type: "put", key: "piece", value: encode("x"), fence });
          assert.ok(answer.state === "done" || answer.state === "refused");
          writes.push({
            client,
            lock: lock.name,
            token,
            calledAt,
            answeredAt: tick(),
            outcome: answer.state,
            ...(answer.revision === undefined ? {} : { revision: answer.revision }),
          });
          return answer.state;
        };
        for (const [index, [isPaused, others]] of rounds.entries()) {
          const own = await session();
          const calledAt = tick();
          const { token = 0 } = done(await call({ type: "claim", ...lock, session: own }));
          assert.ok(token > last.token);
          holds.push({
            client: index,
            lock: lock.name,
            token,
            calledAt,
            answeredAt: tick(),
            provedUntil: clock.monotonicMs() + 1800,
          });
          assert.equal(await write(index, token), "done");
          // Those before it wake up now, and write.
          for (const before of holds.slice(-1 - others, -1))
            assert.equal(await write(before.client, before.token), "refused");
          if (isPaused) await clock.advance(4000);
          else {
            await clock.advance(1900);
            await call({ type: "session-end", session: own });
          }
          last = { token, session: own };
        }
        assert.deepEqual(checkLocks({ holds, writes }), []);
      },
    ),
    { numRuns: 12, seed: 7 },
  );
});

test("C3: the history of concurrent clients is linearizable", async (t) => {
  const { service } = await world(t);
  const history: HistoryOperation[] = [];
  let now = 0;
  const client = async (number: number) => {
    const random = seededRandom(100 + number);
    for (let step = 0; step < 60; step++) {
      const key = `r/${random.integer(3)}`;
      const value = `${number}.${step}`;
      const read = await observed(number, key);
      if (random.integer(3) === 0) continue;
      const calledAt = now++;
      const ifRevision = read?.modRevision ?? 0;
      const answer = await service.call(caller, {
        type: "put",
        key,
        value: encode(value),
        ifRevision,
      });
      history.push({
        client: number,
        key,
        calledAt,
        answeredAt: now++,
        type: "cas",
        expected: read ? Buffer.from(read.value, "base64").toString() : undefined,
        value,
        swapped: answer.state === "done",
      });
    }
  };
  const observed = async (number: number, key: string) => {
    const calledAt = now++;
    const answer = await service.call(caller, { type: "get", key });
    assert.ok(answer.state === "item");
    const value = answer.item ? Buffer.from(answer.item.value, "base64").toString() : undefined;
    history.push({ client: number, key, calledAt, answeredAt: now++, type: "read", value });
    return answer.item;
  };
  await Promise.all(Array.from({ length: 8 }, (_, number) => client(number)));
  assert.ok(history.some((operation) => operation.type === "cas" && operation.swapped === false));
  assert.deepEqual(checkLinearizable(history), []);
});

test("C6: turns come in order, whoever leaves from wherever in the queue", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }), async (leaves) => {
      const turns = createTurns();
      const first = await turns.take("k", new AbortController().signal);
      assert.ok(first.isFirst);
      const order: number[] = [];
      const waiting = leaves.map((isLeaving, index) => {
        const gone = new AbortController();
        const turn = turns.take("k", gone.signal).then((own) => {
          if (own.isFirst) order.push(index);
          own.end();
          return own.isFirst;
        });
        return { gone, turn, isLeaving };
      });
      for (const { gone, isLeaving } of waiting) if (isLeaving) gone.abort();
      first.end();
      first.end();
      const got = await Promise.all(waiting.map(({ turn }) => turn));
      assert.deepEqual(
        got,
        leaves.map((isLeaving) => !isLeaving),
      );
      assert.deepEqual(
        order,
        leaves.flatMap((isLeaving, index) => (isLeaving ? [] : [index])),
      );
      // Nothing is left behind: the next one has its turn at once.
      assert.ok((await turns.take("k", new AbortController().signal)).isFirst);
    }),
    { numRuns: 50, seed: 7 },
  );
});

test("C1: no two identities share a namespace, and no key of one lies in another's", () => {
  const identity = fc.oneof(
    fc.tuple(
      fc.constantFrom("app", "user"),
      fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,20}[a-z0-9]$/),
    ),
    fc
      .tuple(
        fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,10}[a-z0-9]$/),
        fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,10}[a-z0-9]$/),
      )
      .map(([namespace, account]) => ["ns", namespace, "sa", account]),
  );
  fc.assert(
    fc.property(identity, identity, (one, two) => {
      const rootOf = (path: readonly string[]) =>
        namespaceOf(applicationOf(`spiffe://mill.skerry/${path.join("/")}`)).root;
      if (one.join("/") === two.join("/")) return;
      assert.ok(!rootOf(one).startsWith(rootOf(two)));
    }),
    { numRuns: 300, seed: 7 },
  );
  for (const id of [
    "spiffe://mill.skerry/node/n1",
    "spiffe://mill.skerry/hub/main",
    "app/a",
    `spiffe://mill.skerry/app/${"a".repeat(500)}`,
  ])
    assert.throws(() => applicationOf(id), { code: "forbidden" });
});

test("C3: what a server said or a link knows decides whether another one is asked", async () => {
  const asked: string[] = [];
  const failing = (node: string, code: string | undefined) => ({
    node,
    async request() {
      asked.push(node);
      if (code !== undefined) throw new SkerryError({ code, message: code, retryable: true });
      const answer: CoordinationAnswer = { state: "done", revision: 7 };
      return new TextEncoder().encode(JSON.stringify(answer));
    },
    open: () => assert.fail("no stream"),
  });
  const put: CoordinationRequest = { type: "put", key: "k", value: "" };
  const claim: CoordinationRequest = { type: "claim", kind: "lock", name: "l", session: "s" };
  const cases: [CoordinationRequest, (string | undefined)[], string, number][] = [
    // Not sent, or surely not done: the next one.
    [put, ["link-closed", undefined], "done", 2],
    [put, ["link-busy", undefined], "done", 2],
    [put, ["ledger-unavailable", undefined], "done", 2],
    [put, ["unknown-method", undefined], "done", 2],
    // The answer was lost: nobody else, unless it may be sent twice.
    [put, ["link-lost", undefined], "unknown", 1],
    [put, ["link-timeout", undefined], "unknown", 1],
    [put, ["internal", undefined], "unknown", 1],
    [claim, ["link-lost", undefined], "unknown", 1],
    [{ ...claim, id: "try" }, ["link-lost", undefined], "done", 2],
    [{ type: "session-renew", session: "s" }, ["link-timeout", undefined], "done", 2],
    [{ type: "get", key: "k" }, ["link-lost", undefined], "done", 2],
    // Lost at one, refused by the other: still unknown.
    [{ ...claim, id: "try" }, ["link-lost", "ledger-unavailable"], "unknown", 2],
    // None left.
    [put, ["link-closed", "quorum-lost"], "quorum-lost", 2],
    [put, ["quorum-lost", "link-closed"], "server-lost", 2],
    [{ type: "get", key: "k" }, ["link-lost", "link-lost"], "server-lost", 2],
    [put, [], "server-lost", 0],
    // A refusal is an answer.
    [put, ["quota-exceeded", undefined], "quota-exceeded", 1],
  ];
  for (const [request, codes, expected, times] of cases) {
    asked.length = 0;
    const servers = codes.map((code, index) => failing(`s${index}`, code));
    const remote = createRemoteCoordination({
      clock: createSimulatedClock(),
      servers: () => servers,
    });
    const outcome = await remote.call(caller, request).then(
      ({ state }) => state,
      (error: SkerryError) => error.code,
    );
    const what = `${request.type} over ${codes.map(String).join(", ")}`;
    assert.equal(outcome, expected, what);
    assert.equal(asked.length, times, what);
  }
});

test("C3: once quorum is known to be lost, writes are refused instead of becoming unknown", async (t) => {
  const { clock, ledger } = await world(t);
  let isLost = true;
  let sent = 0;
  const silent: Ledger = {
    ...ledger,
    async transact(...asked) {
      sent++;
      if (isLost) return { state: "unknown", cause: new Error("no answer") };
      return await ledger.transact(...asked);
    },
    status: async () => ({ ...(await ledger.status()), quorum: isLost ? "lost" : "held" }),
  };
  const deps = { clock, random: seededRandom(1), log: silentLog };
  const service = createCoordinationService({ ...deps, ledger: silent });
  t.after(() => service.close());
  const put = () => service.call(caller, { type: "put", key: "k", value: "" });
  assert.equal((await put()).state, "unknown");
  await clock.advance(1);
  await assert.rejects(put(), { code: "quorum-lost", retryable: true });
  assert.equal(sent, 1);
  const stale = await service.call(caller, { type: "get", key: "k", stale: true });
  assert.equal(stale.state, "item");
  // After a moment it is tried again.
  isLost = false;
  await clock.advance(1500);
  assert.equal((await put()).state, "done");
});

test("quorum-lost says why the ledger did nothing", async (t) => {
  const { clock, ledger } = await world(t);
  const lost: Ledger = {
    ...ledger,
    get: () =>
      Promise.reject(
        new SkerryError({ code: "ledger-unavailable", message: "x", retryable: true }),
      ),
    status: async () => ({ ...(await ledger.status()), quorum: "lost" }),
  };
  const deps = { clock, random: seededRandom(1), log: silentLog };
  const service = createCoordinationService({ ...deps, ledger: lost });
  await assert.rejects(service.call(caller, { type: "get", key: "k" }), { code: "quorum-lost" });
  service.close();
});
