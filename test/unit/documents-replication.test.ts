/** When nodes ask each other: a peer that does not know of documents yet, and two that have the same. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createReplication } from "../../src/data/index.ts";
import type { ReplicatedStore, Vector } from "../../src/data/replication/replicated.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";

test("a peer of an earlier version is asked again without a warning each second, and taken in once it knows", async () => {
  const clock = createSimulatedClock();
  const random = seededRandom(1);
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (message: string) => void warnings.push(message) };
  const vector = { "n1.a": 0 };
  const store = {
    log: async () => undefined,
    apply: async () => ({ state: "gap", origin: "n2.b", top: 0, stored: 0 }) as const,
    vector: async () => vector,
    observe: async () => ({ origin: "n1.a", rotated: false }),
    on: () => () => undefined,
  };
  const router = virtualRouter();
  const replication = createReplication(
    { store, clock, random, log },
    { node: "n1", trustDomain: "cell-a.skerry", methods: "documents" },
  );
  replication.register(router);
  const peer = virtualRouter();
  peer.handle("documents.vector", () => {
    throw new SkerryError({ code: "unknown-method", message: "documents.vector" });
  });
  const end = (name: string) => peerOf("cell-a.skerry", "node", name);
  const link = virtualLink(
    { clock, random, faults: () => noFaults },
    { left: { peer: end("n1"), router }, right: { peer: end("n2"), router: peer } },
  );
  replication.attach(link.left);
  await clock.advance(5000);
  assert.deepEqual([warnings, replication.vectorsByNode().get("n2")], [[], {}]);
  peer.handle("documents.vector", async () => Buffer.from('{"n2.b":7}'));
  await clock.advance(5000);
  assert.deepEqual(replication.vectorsByNode().get("n2"), { "n2.b": 7 });
  replication.stop();
  link.cut();
});

/** A store of positions only; what travels is up to where a log goes. */
function countingStore(own: string) {
  const vector: Record<string, number> = { [own]: 0 };
  const listeners = new Set<(grown: { vector: Vector }) => void>();
  const grow = (origin: string, top: number) => {
    vector[origin] = Math.max(vector[origin] ?? 0, top);
    for (const listener of listeners) listener({ vector: { ...vector } });
  };
  const store: ReplicatedStore = {
    async log({ origin, from }) {
      const top = vector[origin] ?? 0;
      const bytes = Buffer.from(JSON.stringify({ origin, top }));
      return top < from ? undefined : { origin, from, to: top, entries: top - from + 1, bytes };
    },
    async apply(bytes) {
      const { origin, top } = JSON.parse(Buffer.from(bytes).toString());
      const stored = top - (vector[origin] ?? 0);
      grow(origin, top);
      return { state: "applied", origin, top, stored };
    },
    vector: async () => ({ ...vector }),
    observe: async () => ({ origin: own, rotated: false }),
    on(_event, listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return { store, vector, grow };
}

test("stores that have the same compare seldom, and at once when one grows, be it by others' entries", async () => {
  const clock = createSimulatedClock();
  const random = seededRandom(2);
  let compared = 0;
  const node = (name: string, own: string) => {
    const counting = countingStore(own);
    const router = virtualRouter();
    const replication = createReplication(
      { store: counting.store, clock, random, log: silentLog },
      { node: name, trustDomain: "cell-a.skerry" },
    );
    replication.register({
      handle: (method, handler) =>
        router.handle(method, (request) => {
          if (method === "data.vector") compared++;
          return handler(request);
        }),
    });
    return {
      ...counting,
      replication,
      router,
      peer: peerOf("cell-a.skerry", "node", name),
    };
  };
  const [one, other] = [node("n1", "n1.a"), node("n2", "n2.b")];
  const link = virtualLink({ clock, random, faults: () => noFaults }, { left: one, right: other });
  one.replication.attach(link.left);
  other.replication.attach(link.right);
  one.grow("n1.a", 3);
  await clock.advance(5000);
  assert.equal(other.vector["n1.a"], 3);

  compared = 0;
  await clock.advance(60_000);
  assert.ok(compared >= 8 && compared <= 14, `${compared} comparisons in a minute of calm`);

  other.grow("n3.c", 7);
  await clock.advance(3000);
  assert.equal(one.vector["n3.c"], 7, "entries of a node that is not linked");
  one.grow("n1.a", 4);
  await clock.advance(100);
  assert.equal(other.vector["n1.a"], 4, "pushed");

  compared = 0;
  other.vector["n3.c"] = 9;
  await clock.advance(13_000);
  assert.equal(one.vector["n3.c"], 9, "what no event tells is found all the same");
  one.replication.stop();
  other.replication.stop();
  link.cut();
});
