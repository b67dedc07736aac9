/**
 * A collection that a hub and its cells write (scope `both`): cells of one or two nodes, pieces that come
 * late, twice or not at all, power cuts at nodes and at the hub at any single write, documents that move
 * from cell to cell, a filter and an egress that change. Checked all the way: no cell shows what was
 * never for it. In the end hub and matching cells are equal, and nothing acknowledged is missing.
 */
import {
  encodeLeaving,
  encodeLeavingSnapshot,
  type CollectionDeclaration,
  type DocumentWrite,
  type FieldChange,
  type Publication,
} from "../../../data/index.ts";
import {
  hubOriginPrefix,
  objectOf,
  readOperation,
  shapeOf,
  type Json,
  type JsonObject,
} from "../../../data/inside/index.ts";
import type { EgressPolicy } from "../../../api/index.ts";
import { createSimulatedClock } from "../../../lib/clock-simulated.ts";
import { SkerryError } from "../../../lib/errors.ts";
import { silentLog } from "../../../lib/log.ts";
import { seededRandom } from "../../../lib/random.ts";
import { stable } from "../../../lib/stable.ts";
import { createOperationGate } from "../../../privacy/gate/index.ts";
import { createMemoryHub } from "./documents-hub.ts";
import {
  createMemoryTables,
  openMemoryStore,
  type MemoryStore,
  type MemoryTables,
} from "./documents-memory.ts";
import { demand } from "./violation.ts";

const collection = "orders";
const merged = [
  { path: "/stock", type: "counter" },
  { path: "/tags", type: "set" },
] as const;
const orders: CollectionDeclaration = {
  name: collection,
  schemaVersion: 1,
  onMismatch: "refuse",
  fields: merged.map((field) => ({ ...field, required: false })),
};
const kept = ["k0", "k1", "k2"];
/** Of these, deletions meet edits; what is in them is not counted. */
const deleted = ["d0", "d1"];
const ids = [...kept, ...deleted];
/** `secret` never leaves. */
const policies: readonly EgressPolicy[] = [{ drop: ["secret"] }, { drop: ["secret", "note"] }];
const steps = 220;
const roundsMax = 60;

export type SharedPlanted =
  | "none"
  /** The hub gives every cell everything. */
  | "no-filter"
  /** Now and then a piece that a cell sent is answered, and not taken. */
  | "lost-piece";

type Node = {
  readonly cell: string;
  readonly name: string;
  tables: MemoryTables;
  store: MemoryStore;
};

/** Gives how many writes were acknowledged. Throws `Violation`. */
export async function simulateShared(
  seed: number,
  planted: SharedPlanted = "none",
): Promise<number> {
  const random = seededRandom(seed);
  const clock = createSimulatedClock();
  const chance = (share: number) => random.float() < share;
  const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)] as T;
  const hub = createMemoryHub({ clock, onPowerCut: () => hub.restart() });
  const cells = ["a", "b", "c"].slice(0, 2 + random.integer(2));
  let serial = 0;
  let acknowledged = 0;

  const open = (name: string, tables: MemoryTables): MemoryStore =>
    openMemoryStore(
      { tables, clock, random, onPowerCut: () => undefined },
      { node: name, collections: [orders] },
    );
  const nodes: Node[] = cells.flatMap((cell) =>
    Array.from({ length: 1 + random.integer(2) }, (_, at) => {
      const tables = createMemoryTables();
      return { cell, name: `n${at}`, tables, store: open(`n${at}`, tables) };
    }),
  );
  /** Undefined: the power went; what was under way is undone. */
  const surviving = async <T>(work: () => T | Promise<T>, node?: Node): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SkerryError && error.code === "closed")) throw error;
      if (node) node.store = open(node.name, node.tables);
      return undefined;
    } finally {
      if (node) node.tables.cutAfter = undefined;
    }
  };

  let egress = { policy: policies[0] as EgressPolicy, revision: 1 };
  let filter: Publication = {
    name: collection,
    cellField: "/cells",
    fromCells: { fields: merged },
  };
  const publish = (next: Publication) => {
    filter = next;
    const { cellField: _field, ...open } = next;
    hub.publish(planted === "no-filter" ? open : next);
  };
  publish(filter);

  const master = (id: string): JsonObject | undefined => {
    const own = hub.published.feed(collection, "");
    return own && hub.published.engineOf(own).documents.shown(collection, id).body;
  };
  const isFor = (cell: string, body: JsonObject) =>
    (!filter.cells || filter.cells.includes(cell)) &&
    Array.isArray(body["cells"]) &&
    body["cells"].includes(cell);
  const valuesOf = (body: JsonObject): string[] =>
    [body["name"], body["note"], ...((body["tags"] ?? []) as Json[])].filter(
      (value) => typeof value === "string",
    );
  /** By value: the cells that may have it. */
  const allowed = new Map<string, Set<string>>();
  const allow = (value: string, cell: string) =>
    allowed.set(value, (allowed.get(value) ?? new Set<string>()).add(cell));
  const look = () => {
    for (const body of ids.map(master))
      for (const cell of body ? cells.filter((each) => isFor(each, body)) : [])
        for (const value of body ? valuesOf(body) : []) allow(value, cell);
  };
  const checkNothingLeaked = ({ cell, name, store }: Node) => {
    for (const id of ids)
      for (const value of valuesOf(store.engine.documents.shown(collection, id).body ?? {}))
        demand(
          "leaked",
          allowed.get(value)?.has(cell) === true,
          () => `${value} of ${id} is at ${cell}/${name}, where it was never for`,
        );
  };

  const marks: { readonly id: string; readonly mark: string }[] = [];
  const counts = new Map<string, number>();
  /** A write of whoever it is, and what is known once it was acknowledged. */
  const edit = (
    id: string,
  ): { write: DocumentWrite; mark: string; by: number; values: string[] } => {
    const mark = `m${++serial}`;
    const by = 1 + random.integer(3);
    const values = [mark, `v${serial}`];
    const changes: FieldChange[] = [
      { change: "add", path: "/tags", value: mark },
      { change: "increment", path: "/stock", by },
      { change: "set", path: chance(0.7) ? "/name" : "/note", value: `v${serial}` },
    ];
    return { write: { collection, id, do: "change", changes }, mark, by, values };
  };
  const acknowledge = (id: string, { mark, by }: { mark: string; by: number }) => {
    acknowledged++;
    if (!kept.includes(id)) return;
    marks.push({ id, mark });
    counts.set(id, (counts.get(id) ?? 0) + by);
  };

  const writeAt = async (node: Node) => {
    const id = pick(ids);
    if (chance(0.05)) node.tables.cutAfter = random.integer(6);
    if (deleted.includes(id) && chance(0.3)) {
      await surviving(() => node.store.write([{ collection, id, do: "delete" }], false), node);
      return;
    }
    const { write, values, ...rest } = edit(id);
    for (const value of values) allow(value, node.cell);
    const secret = { change: "set", path: "/secret", value: `secret-${serial}` } as const;
    const wish = write.do === "change" ? { ...write, changes: [...write.changes, secret] } : write;
    const written = await surviving(() => node.store.write([wish], false), node);
    if (written?.state === "written") acknowledge(id, rest);
  };
  const writeAtHub = async () => {
    const id = pick(ids);
    if (chance(0.05)) hub.cutAfter(random.integer(6));
    if (deleted.includes(id) && chance(0.3)) {
      await surviving(() => hub.write([{ collection, id, do: "delete" }]));
    } else if (master(id) === undefined || chance(0.35)) {
      const to = cells.filter(() => chance(0.5));
      await surviving(() => hub.write([{ collection, id, do: "merge", patch: { cells: to } }]));
    } else {
      const { write, ...rest } = edit(id);
      const written = await surviving(() => (hub.write([write]), true));
      if (written) acknowledge(id, rest);
    }
    look();
  };
  const gate = createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log: silentLog,
  });
  const push = async ({ cell, store }: Node) => {
    gate.setPolicies({ [collection]: egress });
    const wish = { ...shapeOf(egress), revision: egress.revision };
    const states = await hub.feeds(cell, { [collection]: wish });
    const state = states[collection];
    if (state?.state !== "open") return false;
    const vector = await store.vector();
    const behind = Object.keys(vector).filter(
      (origin) => (state.tops[origin] ?? 0) < (vector[origin] ?? 0),
    );
    if (behind.length === 0) return false;
    const origin = pick(behind);
    const from = (state.tops[origin] ?? 0) + 1;
    const piece = store.engine.texts({ origin, from, bytesMax: chance(0.5) ? 1 : 600 });
    if (!piece) return false;
    const operations = piece.texts.map(readOperation);
    const to = from + operations.length - 1;
    const kept =
      planted === "lost-piece" && chance(0.2)
        ? operations.map((operation) => ({ ...operation, writes: [] }))
        : operations;
    const cleared = gate.clear({ origin, from, to, operations: kept, vector }, [collection]);
    if (!cleared) return false;
    if (chance(0.04)) hub.cutAfter(random.integer(12));
    for (let times = chance(0.1) ? 2 : 1; times > 0; times--)
      await surviving(() => hub.ingest(cell, cleared.bytes));
    look();
    return true;
  };
  const pull = async (node: Node) => {
    const vector = Object.fromEntries(
      Object.entries(await node.store.vector()).filter(([name]) =>
        name.startsWith(hubOriginPrefix),
      ),
    );
    if (chance(0.04)) hub.cutAfter(random.integer(12));
    const query = { cell: node.cell, collections: [collection], vector };
    const bytes = await surviving(() => hub.pull(query));
    look();
    if (!bytes) return false;
    if (chance(0.05)) node.tables.cutAfter = random.integer(10);
    const { store } = node;
    await surviving(() => store.apply(bytes), node);
    checkNothingLeaked(node);
    return true;
  };
  const exchange = async (from: Node, to: Node) => {
    const [has, lacks] = [await from.store.vector(), await to.store.vector()];
    const behind = Object.keys(has).filter((name) => (lacks[name] ?? 0) < (has[name] ?? 0));
    if (behind.length === 0) return false;
    const origin = pick(behind);
    const piece = await from.store.log({ origin, from: (lacks[origin] ?? 0) + 1 });
    if (piece) await to.store.apply(piece.bytes);
    checkNothingLeaked(to);
    return piece !== undefined;
  };
  const pairs = nodes.flatMap((from) =>
    nodes.filter((to) => to !== from && to.cell === from.cell).map((to) => [from, to] as const),
  );
  const change = () => {
    const revision = egress.revision + 1;
    if (chance(0.5)) egress = { policy: pick(policies), revision };
    else
      publish({
        name: collection,
        cellField: "/cells",
        fromCells: { fields: merged },
        ...(chance(0.5) ? {} : { cells: cells.filter(() => chance(0.7)) }),
      });
    look();
  };

  for (let step = 0; step < steps; step++) {
    await clock.advance(random.integer(200));
    const at = random.float();
    if (at < 0.25) await writeAt(pick(nodes));
    else if (at < 0.4) await writeAtHub();
    else if (at < 0.62) await push(pick(nodes));
    else if (at < 0.84) await pull(pick(nodes));
    else if (at < 0.97) {
      const [from, to] = pairs.length > 0 ? pick(pairs) : [];
      if (from && to) await exchange(from, to);
    } else change();
  }

  // From now on all is told, by what lets out most.
  egress = { policy: policies[0] as EgressPolicy, revision: egress.revision + 1 };
  let isMoving = true;
  for (let round = 0; isMoving && round < roundsMax; round++) {
    isMoving = false;
    for (const node of nodes) {
      for (let turns = 0; turns < 200 && (await push(node)); turns++) isMoving = true;
      for (let turns = 0; turns < 200 && (await pull(node)); turns++) isMoving = true;
    }
    for (const [from, to] of pairs)
      for (let turns = 0; turns < 200 && (await exchange(from, to)); turns++) isMoving = true;
  }
  demand("unsettled", !isMoving, () => `hub and cells still have news after ${roundsMax} rounds`);
  for (const { id, mark } of marks) {
    const tags = master(id)?.["tags"];
    demand(
      "lost",
      Array.isArray(tags) && tags.includes(mark),
      () => `${mark} of ${id} is not at the hub`,
    );
  }
  for (const [id, sum] of counts) {
    const stock = master(id)?.["stock"];
    demand(
      Number(stock) > sum ? "twice" : "lost",
      stock === sum,
      () => `${id} counts ${stock}, not ${sum}`,
    );
  }
  for (const { cell, name, store } of nodes)
    for (const id of ids) {
      const body = store.engine.documents.shown(collection, id).body;
      const at = master(id);
      const here = body && stable(without(body, "secret"));
      const there = at && isFor(cell, at) ? stable(at) : undefined;
      demand(
        "differs",
        here === there,
        () => `${id}: ${here} at ${cell}/${name}, ${there} at the hub`,
      );
    }
  return acknowledged;
}

const without = (body: JsonObject, name: string): JsonObject =>
  objectOf(Object.entries(body).filter(([field]) => field !== name));
