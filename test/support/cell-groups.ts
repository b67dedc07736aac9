/** Nodes with stores of their own, one ledger, and cuts between them: what groups of the cell stand on. */
import { strict as assert } from "node:assert";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext } from "node:test";
import { groupLedgerOf } from "../../src/agent/group-ledger.ts";
import {
  createCellGroups,
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
import { diary, entry, range, telemetry, temporaryFolder } from "./data.ts";

export const id = { stream: "telemetry", group: "billing" };

export type TestNode = {
  readonly name: string;
  store: StreamStore;
  readonly groups: CellGroups;
  /** To and from the ledger: nothing passes, or what was done is not told. */
  cut: "none" | "all" | "answers";
};

export type World<C> = {
  readonly clock: C;
  start(name: string, options?: { foldBytes?: number }): Promise<TestNode>;
  /** Its store takes a new incarnation, with everything that it had. */
  crash(node: TestNode): Promise<void>;
};

export const simulated = (t: TestContext) => world(t, createSimulatedClock());

export function world<C extends Clock>(t: TestContext, clock: C): World<C> {
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

export const append = (node: TestNode, from: number, to: number, producer = node.name) =>
  node.store.append(range(from, to).map((sequence) => entry(sequence, { producer })));

/** Every log that one has and the other lacks. */
export async function replicate(from: TestNode, to: TestNode): Promise<void> {
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

export const keysIn = (taken: Delivery | undefined) =>
  (taken?.entries ?? []).map(({ key }) => `${key?.producer}/${key?.sequence}`);
export const take = (node: TestNode, limit = 4) => node.groups.take(id, { limit, ackMs: 600_000 });

/** Takes whenever time has passed, as a member does that waits. */
export async function taken(node: TestNode, clock: SimulatedClock): Promise<Delivery> {
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
