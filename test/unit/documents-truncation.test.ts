/** Who is waited for before the log of documents is forgotten. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createTruncation, type Vector } from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";

test("M15: what all nodes and the hub have is forgotten; who is away too long, or no node, is not waited for", async () => {
  const clock = createSimulatedClock();
  let nodes: readonly string[] = [];
  const vectors = new Map<string, Vector>([["gone", {}]]);
  const listeners = new Set<(change: { node: string }) => void>();
  const hear = (node: string, vector: Vector) => {
    vectors.set(node, vector);
    for (const listener of listeners) listener({ node });
  };
  let hubVector: Vector = {};
  let isFed = true;
  let hasHub = true;
  let told: () => void = () => undefined;
  const asked: Vector[] = [];
  const truncation = createTruncation(
    {
      store: {
        vector: async () => ({ "n1.a": 9, "n2.b": 5 }),
        async truncate({ acked, bytesMax }) {
          assert.equal(bytesMax, 77);
          asked.push(acked);
          // The second step of the first round.
          return { operations: 1, forced: 0, more: asked.length === 1 };
        },
      },
      peers: {
        vectorsByNode: () => vectors,
        on(_event, listener) {
          listeners.add(listener);
          return () => void listeners.delete(listener);
        },
      },
      nodes: () => nodes,
      hub: {
        get isFed() {
          return isFed;
        },
        vector: () => hubVector,
        on(_event, listener) {
          told = listener;
          return () => undefined;
        },
      },
      hasHub: () => hasHub,
      clock,
      log: silentLog,
    },
    { node: "n1", periodMs: 1000, awayMsMax: 60_000, bytesMax: 77 },
  );
  await clock.advance(3000);
  assert.deepEqual(asked, [], "the nodes are not known yet");
  nodes = ["n1", "n2", "n3"];
  hear("n2", { "n1.a": 7, "n2.b": 5 });
  await clock.advance(1000);
  assert.deepEqual(asked.splice(0), [
    { "n1.a": 0, "n2.b": 0 },
    { "n1.a": 0, "n2.b": 0 },
  ]);
  hear("n3", { "n1.a": 6, "n2.b": 4 });
  hubVector = { "n1.a": 3, "n2.b": 5 };
  told();
  const next = async () => {
    asked.length = 0;
    await clock.advance(1000);
    return asked.at(-1);
  };
  assert.deepEqual(await next(), { "n1.a": 3, "n2.b": 4 });
  hasHub = false;
  assert.deepEqual(await next(), { "n1.a": 6, "n2.b": 4 });
  hasHub = true;
  assert.deepEqual(await next(), { "n1.a": 3, "n2.b": 4 });
  isFed = false;
  assert.deepEqual(await next(), { "n1.a": 6, "n2.b": 4 });
  // n3 is away for longer than it is waited for; n2 leaves the cell.
  await clock.advance(30_000);
  hear("n2", { "n1.a": 8, "n2.b": 5 });
  await clock.advance(40_000);
  assert.deepEqual(await next(), { "n1.a": 8, "n2.b": 5 });
  nodes = ["n1", "n4"];
  assert.deepEqual(await next(), { "n1.a": 0, "n2.b": 0 }, "a new node is waited for");
  nodes = ["n1"];
  assert.deepEqual(await next(), { "n1.a": 9, "n2.b": 5 });
  truncation.stop();
});
