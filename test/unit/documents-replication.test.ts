/** Replication with a peer that does not know of documents yet. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createReplication } from "../../src/data/index.ts";
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
