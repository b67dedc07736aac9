/**
 * Up to seven stores of documents under lost, delayed, repeated and reordered messages, cuts, power cuts
 * at any single write, clocks that are years off or step, stores that come new and stores that go for
 * good. Checked all the way: what is seen has its causes with it, and batches are whole. After the heal:
 * all stores are equal, and equal to the model of their operations; nothing acknowledged is missing.
 */
import type { CollectionDeclaration, DocumentWrite, FieldChange } from "../../../data/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../../lib/clock-simulated.ts";
import { SkerryError } from "../../../lib/errors.ts";
import { seededRandom, type Random } from "../../../lib/random.ts";
import {
  createSimulatedCell,
  type Planted,
  type SimulatedCell,
  type SimulatedNode,
} from "./documents-cell.ts";
import {
  checkAcknowledged,
  checkCauses,
  checkStores,
  ids,
  isSettled,
  marksAt,
  type Acknowledged,
  type Tally,
} from "./documents-checks.ts";
import { noFaults } from "./links.ts";
import { demand } from "./violation.ts";

/** A field of each kind that merges in its own way. */
export const items: CollectionDeclaration = {
  name: "items",
  schemaVersion: 1,
  onMismatch: "refuse",
  fields: [
    { path: "/name", type: "string", required: false },
    { path: "/stock", type: "counter", required: false },
    { path: "/tags", type: "set", required: false },
    { path: "/steps", type: "list", required: false },
    { path: "/notes", type: "text", required: false },
  ],
};
const steps = 350;
const storesMax = 7;
const settleMs = 200_000;

/** Something that goes on beside the cell, such as a hub; faults and checks are its own. */
export type Beside = {
  step(): void;
  /** From now on nothing fails. */
  heal(): void;
  readonly isSettled: boolean;
  /** Once all is settled. */
  check(): void;
};

/** Gives how many writes were acknowledged. Throws `Violation`. */
export async function simulateDocuments(
  seed: number,
  planted: Planted = "none",
  beside?: (cell: SimulatedCell, deps: { clock: SimulatedClock; random: Random }) => Beside,
): Promise<number> {
  const random = seededRandom(seed);
  const clock = createSimulatedClock();
  const chance = (share: number) => random.float() < share;
  const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)] as T;
  const cell = createSimulatedCell(
    { clock, random },
    {
      nodes: 3 + random.integer(storesMax - 2),
      collections: [items, { ...items, name: "secrets" }],
      planted,
      // Most of the time with logs that are forgotten soon, so that who was away needs a snapshot.
      ...(seed % 4 === 0
        ? {}
        : {
            truncation: { periodMs: 300, awayMsMax: 1500, bytesMax: seed % 4 === 1 ? 2000 : 1e6 },
          }),
      faults: { lost: 0.04, unanswered: 0.04, doubled: 0.08, delayMsMax: 80 },
    },
  );
  const { nodes } = cell;
  const connectAll = () => {
    for (const [index, a] of nodes.entries())
      for (const b of nodes.slice(index + 1)) cell.connect(a, b);
  };
  connectAll();
  const other = beside?.(cell, { clock, random: seededRandom(seed + 1) });
  const acknowledged: Acknowledged[] = [];
  const tally: Tally = { acked: 0, unknown: 0, ackedTags: [] };

  const write = (
    node: SimulatedNode,
    request: readonly DocumentWrite[],
    count?: { by: number; tag: string },
  ) => {
    if (!node.up) return;
    node.tables.cutAfter = chance(0.04) ? random.integer(6) : undefined;
    const { store } = node;
    try {
      const written = store.write(request, chance(0.02));
      if (!written) {
        tally.unknown += count?.by ?? 0;
        return;
      }
      if (written.state !== "written") throw new Error(`refused: ${JSON.stringify(written)}`);
      if (written.changed === 0) return;
      const { name, stored } = store.engine.own;
      const text = cell.archive.get(name)?.[stored - 1]?.text ?? "";
      acknowledged.push({ origin: name, sequence: stored, text });
      tally.acked += count?.by ?? 0;
      if (count) tally.ackedTags.push(count.tag);
    } catch (error) {
      if (!(error instanceof SkerryError) || error.code !== "closed") throw error;
    } finally {
      node.tables.cutAfter = undefined;
    }
  };

  for (let step = 0; step < steps; step++) {
    const node = pick(nodes);
    const peer = pick(nodes);
    const dice = random.float();
    if (dice < 0.35) write(node, randomRequest(random));
    else if (dice < 0.5) {
      const by = 1 + random.integer(9);
      const tag = `${node.name}-${step}`;
      write(node, [tallyWrite(by, tag)], { by, tag });
    } else if (dice < 0.67) {
      if (node.up) write(node, causalPair(node));
    } else if (dice < 0.77) cell.cut(node, peer);
    else if (dice < 0.89) cell.connect(node, peer);
    else if (dice < 0.91) {
      if (node.up) node.tables.cutAfter = random.integer(8);
    } else if (dice < 0.93) cell.crash(node);
    else if (dice < 0.96) {
      cell.start(node);
      for (const each of nodes) if (chance(0.6)) cell.connect(node, each);
    } else if (dice < 0.97) {
      // In order, as `skerry` removes a node: somebody else has everything that it has.
      if (nodes.length > 2 && node.up && cell.hasSuccessor(node)) cell.leave(node);
    } else if (dice < 0.98) {
      if (nodes.length === storesMax) continue;
      const joined = cell.join();
      for (const each of nodes) if (chance(0.6)) cell.connect(joined, each);
    } else node.skewMs = pick([0, 5000, -5000, 366 * 86_400_000, -60 * 366 * 86_400_000]);
    await clock.advance(random.integer(120));
    checkCauses(pick(nodes));
    other?.step();
  }

  for (const node of nodes) {
    cell.start(node);
    node.tables.cutAfter = undefined;
  }
  cell.faults = noFaults;
  connectAll();
  other?.heal();
  for (let waitedMs = 0; ; waitedMs += 500) {
    await clock.advance(500);
    for (const node of nodes) checkCauses(node);
    if (isSettled(cell) && other?.isSettled !== false) break;
    demand("unsettled", waitedMs < settleMs, () => `vectors are not equal after ${waitedMs} ms`);
  }
  checkAcknowledged(cell, acknowledged, tally);
  checkStores(cell);
  other?.check();
  cell.stop();
  return acknowledged.length;
}

const words = ["red", "green", "blue"];

function randomRequest(random: Random): DocumentWrite[] {
  const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)] as T;
  const one = (): DocumentWrite => {
    const at = { collection: "items", id: pick(ids) };
    const dice = random.float();
    if (dice < 0.12) return { ...at, do: "delete" };
    if (dice < 0.3) {
      const body = {
        name: pick(words),
        stock: random.integer(20),
        tags: [pick(words)],
        steps: words.slice(random.integer(3)),
        notes: pick(["", pick(words), `${pick(words)} ${pick(words)}`]),
      };
      return { ...at, do: "put", body };
    }
    if (dice < 0.5)
      return {
        ...at,
        do: "merge",
        patch: {
          size: pick([1, null, { mm: 3 }, { mm: null, inch: 2 }]) as never,
          name: pick(words),
        },
      };
    const changes: FieldChange[] = [
      pick<FieldChange>([
        { change: "increment", path: "/stock", by: random.integer(9) - 4 },
        { change: "add", path: "/tags", value: pick(words) },
        { change: "discard", path: "/tags", value: pick(words) },
        {
          change: "insert",
          path: "/steps",
          index: random.integer(4),
          values: [pick(words), pick(words)],
        },
        { change: "delete", path: "/steps", index: random.integer(3) },
        {
          change: "edit",
          path: "/notes",
          delta: [
            {
              retain: 1 + random.integer(8),
              attributes: { bold: pick([true, false, null]) },
            },
            pick([{ insert: pick(words) }, { delete: 1 + random.integer(4) }]),
          ],
        },
        { change: "set", path: "/size/mm", value: random.integer(5) },
        { change: "remove", path: "/size" },
      ]),
    ];
    return { ...at, do: "change", changes };
  };
  return random.float() < 0.2 ? [one(), one()] : [one()];
}

const tallyWrite = (by: number, tag: string): DocumentWrite => ({
  collection: "items",
  id: "tally",
  do: "change",
  changes: [
    { change: "increment", path: "/stock", by },
    { change: "add", path: "/tags", value: tag },
    { change: "insert", path: "/steps", values: [tag] },
  ],
});

/** A batch over two documents that says what the writer saw of everybody's last batch. */
function causalPair(node: SimulatedNode): DocumentWrite[] {
  const marks = marksAt(node.store.engine, "left");
  const saw = Object.fromEntries(Object.entries(marks).map(([name, { n }]) => [name, n]));
  const mark = { n: (saw[node.name] ?? 0) + 1, saw: { ...saw, [node.name]: saw[node.name] ?? 0 } };
  return ["left", "right"].map((id) => ({
    collection: "items",
    id,
    do: "change",
    changes: [{ change: "set", path: `/by/${node.name}`, value: mark }],
  }));
}
