/**
 * Stores of documents with a retention, in virtual time: links and power that fail, clocks that are years
 * off or step, edits and deletions by age at once. No store deletes what it has not had unchanged for
 * long enough itself; after the heal all are empty, equal to the model, and hold nothing of it.
 */
import {
  createSimulatedCell,
  type Planted,
  type SimulatedNode,
} from "../../src/drill/simulated/convergence/documents-cell.ts";
import {
  checkStores,
  ids,
  isSettled,
} from "../../src/drill/simulated/convergence/documents-checks.ts";
import { items } from "../../src/drill/simulated/convergence/documents.ts";
import { noFaults } from "../../src/drill/simulated/convergence/links.ts";
import { demand } from "../../src/drill/simulated/convergence/violation.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";

const maxAgeMs = 15_000;
const awayMs = 20_000;
const stepMs = 400;
const dayMs = 86_400_000;
const secret = "hush";

export type RetentionTally = {
  deleted: number;
  cleared: number;
  /** Documents that an edit brought back from a deletion by age. */
  back: number;
};

/** What only this simulation looks for. */
export class RetentionFault extends Error {
  readonly kind: "early" | "held";
  constructor(kind: "early" | "held", message: string) {
    super(message);
    this.kind = kind;
  }
}
const require = (kind: "early" | "held", holds: boolean, what: () => string): void => {
  if (!holds) throw new RetentionFault(kind, what());
};

/** Throws `Violation` and `RetentionFault`. */
export async function simulateRetention(
  seed: number,
  planted: Planted = "none",
): Promise<RetentionTally> {
  const random = seededRandom(seed);
  const clock = createSimulatedClock();
  const chance = (share: number) => random.float() < share;
  const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)] as T;
  const cell = createSimulatedCell(
    { clock, random },
    {
      nodes: 3 + random.integer(2),
      collections: [{ ...items, retention: { maxAgeMs } }],
      planted,
      awayMs,
      ...(seed % 2 === 0 ? {} : { truncation: { periodMs: 300, awayMsMax: 1500, bytesMax: 2000 } }),
      faults: { lost: 0.04, unanswered: 0.04, doubled: 0.08, delayMsMax: 80 },
    },
  );
  const { nodes } = cell;
  const tally: RetentionTally = { deleted: 0, cleared: 0, back: 0 };
  const byAge = new Set<string>();
  const connectAll = () => {
    for (const [index, a] of nodes.entries())
      for (const b of nodes.slice(index + 1)) cell.connect(a, b);
  };
  connectAll();

  /** By node: how long it ran, and when a document was last seen to change there. */
  const runMs = new Map<string, number>();
  const changedMs = new Map<string, { version: string | undefined; atMs: number }>();
  const watch = (node: SimulatedNode) => {
    if (!node.up) return;
    for (const id of ids) {
      const version = node.store.engine.documents.version("items", id);
      const key = `${node.name}/${id}`;
      const known = changedMs.get(key);
      if (known && known.version === version) continue;
      if (version !== undefined && byAge.delete(id)) tally.back++;
      changedMs.set(key, { version, atMs: runMs.get(node.name) ?? 0 });
    }
  };
  const pass = async (ms: number) => {
    for (const { name, up } of nodes) if (up) runMs.set(name, (runMs.get(name) ?? 0) + ms);
    await clock.advance(ms);
    for (const node of nodes) watch(node);
  };
  const dying = async (node: SimulatedNode, work: () => Promise<void> | void, cutShare: number) => {
    if (!node.up) return;
    node.tables.cutAfter = chance(cutShare) ? random.integer(8) : undefined;
    try {
      await work();
    } catch (error) {
      if (!(error instanceof SkerryError) || error.code !== "closed") throw error;
    } finally {
      node.tables.cutAfter = undefined;
    }
  };
  const expire = (node: SimulatedNode, cutShare = 0) =>
    dying(
      node,
      async () => {
        const before = ids.filter((id) => node.store.engine.documents.version("items", id));
        const { deleted, cleared } = await node.store.expire({ rank: nodes.indexOf(node) });
        tally.deleted += deleted["items"] ?? 0;
        tally.cleared += cleared;
        for (const id of before) {
          if (node.store.engine.documents.version("items", id) !== undefined) continue;
          const since = changedMs.get(`${node.name}/${id}`)?.atMs ?? 0;
          const ageMs = (runMs.get(node.name) ?? 0) - since;
          byAge.add(id);
          require("early", ageMs + stepMs >= maxAgeMs, () =>
            `${node.name} deleted ${id} after ${ageMs} ms`);
        }
      },
      cutShare,
    );

  for (let step = 0; step < 500; step++) {
    const node = pick(nodes);
    const dice = random.float();
    if (dice < 0.07)
      await dying(
        node,
        () => {
          const id = pick(ids);
          const at = { collection: "items", id } as const;
          const body = { name: secret, tags: [secret], notes: secret, steps: [secret], stock: 3 };
          node.store.write(
            [
              chance(0.4)
                ? { ...at, do: "put", body }
                : {
                    ...at,
                    do: "change",
                    changes: [{ change: "increment", path: "/stock", by: 1 }],
                  },
            ],
            chance(0.03),
          );
        },
        0.04,
      );
    else if (dice < 0.5) await expire(node, 0.1);
    else if (dice < 0.6) cell.cut(node, pick(nodes));
    else if (dice < 0.75) cell.connect(node, pick(nodes));
    else if (dice < 0.79) cell.crash(node);
    else if (dice < 0.92) {
      cell.start(node);
      for (const each of nodes) if (chance(0.6)) cell.connect(node, each);
    } else node.skewMs = pick([0, 5000, -5000, 366 * dayMs, -60 * 366 * dayMs]);
    await pass(random.integer(stepMs));
  }

  for (const node of nodes) {
    cell.start(node);
    node.tables.cutAfter = undefined;
  }
  cell.faults = noFaults;
  connectAll();
  const isEmpty = () =>
    nodes.every(({ store }) =>
      ids.every((id) => store.engine.documents.version("items", id) === undefined),
    );
  for (let waitedMs = 0; !(isSettled(cell) && isEmpty()); waitedMs += 300) {
    demand("unsettled", waitedMs < 4 * maxAgeMs, () => `documents are there after ${waitedMs} ms`);
    await pass(300);
    for (const node of nodes) await expire(node);
  }
  checkStores(cell);
  for (let waitedMs = 0; waitedMs < 2 * awayMs; waitedMs += 1000) {
    await pass(1000);
    for (const node of nodes) await expire(node);
  }
  for (let waitedMs = 0; !isSettled(cell); waitedMs += 300) {
    demand("unsettled", waitedMs < 20_000, () => "vectors are not equal");
    await pass(300);
  }
  checkStores(cell);
  for (const { name, tables } of nodes)
    for (const row of tables.documents.values())
      require("held", !row.state.includes(secret), () => `${name} still holds ${row.id}`);
  cell.stop();
  return tally;
}
