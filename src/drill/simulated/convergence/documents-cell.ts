/** Stores of documents in virtual time that come and go, with the real replication over links that fail. */
import {
  createReplication,
  createTruncation,
  type CollectionDeclaration,
  type Replication,
  type Truncation,
  type TruncationOptions,
} from "../../../data/index.ts";
import {
  decodeOperations,
  decodeSnapshot,
  encodeOperations,
  encodeSnapshot,
} from "../../../data/inside/index.ts";
import type { SimulatedClock } from "../../../lib/clock-simulated.ts";
import { silentLog } from "../../../lib/log.ts";
import { seededRandom, type Random } from "../../../lib/random.ts";
import {
  createMemoryTables,
  openMemoryStore,
  type Archive,
  type MemoryStore,
  type MemoryTables,
} from "./documents-memory.ts";
import { peerOf, virtualLink, virtualRouter, type Faults, type VirtualRouter } from "./links.ts";

export const trustDomain = "cell-a.skerry";

/** Faults of the store itself, that the checkers must find. */
export type Planted =
  | "none"
  /** A document is now and then not written with its operation. */
  | "lost-row"
  /** A power cut takes an operation that was acknowledged. */
  | "lost-operation"
  /** Operations are applied without waiting for what they knew of. */
  | "no-waiting"
  /** A snapshot says that it is of later positions than it is. */
  | "snapshot-ahead"
  /** Now and then a piece of a snapshot lacks a document. */
  | "snapshot-hole"
  /** A snapshot is taken as news, whatever was replaced in it since. */
  | "snapshot-without-context"
  /** Documents grow old by the time of day. */
  | "ages-by-day";

export type SimulatedNode = {
  readonly name: string;
  readonly tables: MemoryTables;
  /** Added to the time of day. */
  skewMs: number;
  up: boolean;
  store: MemoryStore;
  router: VirtualRouter;
  replication: Replication;
  truncation: Truncation | undefined;
};

export type SimulatedCell = {
  /** Every operation that any store committed. */
  readonly archive: Archive;
  /** Snapshots that a store took whole. */
  readonly adopted: number;
  readonly truncated: number;
  readonly nodes: readonly SimulatedNode[];
  faults: Faults;
  connect(a: SimulatedNode, b: SimulatedNode): void;
  cut(a: SimulatedNode, b: SimulatedNode): void;
  crash(node: SimulatedNode): void;
  start(node: SimulatedNode): void;
  /** A store that was never there before. */
  join(): SimulatedNode;
  /** A store that another one has the whole of. */
  hasSuccessor(node: SimulatedNode): boolean;
  /** For good. */
  leave(node: SimulatedNode): void;
  stop(): void;
};

export function createSimulatedCell(
  { clock, random }: { clock: SimulatedClock; random: Random },
  options: {
    nodes: number;
    collections: readonly CollectionDeclaration[];
    faults: Faults;
    planted: Planted;
    /** Absent: logs are kept. */
    truncation?: Omit<TruncationOptions, "node">;
    /** After so long what deleted documents held is cleared, where there is a retention. */
    awayMs?: number;
    /** Beside what the nodes have. */
    hubOf?: (node: SimulatedNode) => Parameters<typeof createTruncation>[0]["hub"];
  },
): SimulatedCell {
  const { planted } = options;
  const archive: Archive = new Map();
  let adopted = 0;
  let truncated = 0;
  const links = new Map<string, { cut(): void }>();
  const linkKey = (a: SimulatedNode, b: SimulatedNode) => [a.name, b.name].sort().join("-");
  const nodes: SimulatedNode[] = [];

  const open = (node: SimulatedNode): SimulatedNode => {
    const wallMs = () => (clock.wallMs() + node.skewMs) as never;
    const own = { ...clock, wallMs, ...(planted === "ages-by-day" ? { monotonicMs: wallMs } : {}) };
    const store = openMemoryStore(
      {
        tables: node.tables,
        clock: own,
        random: seededRandom(random.integer(2 ** 32)),
        onPowerCut: () => cell.crash(node),
      },
      {
        node: node.name,
        collections: options.collections,
        ...(options.awayMs === undefined ? {} : { awayMs: options.awayMs }),
      },
    );
    if (planted === "no-waiting" && node.name === "n1") {
      const { apply } = store;
      store.apply = (bytes) => apply(withoutSeen(bytes));
    }
    if (planted === "snapshot-without-context") {
      const { documents } = store.engine;
      const { join } = documents;
      const knows = () => false;
      documents.join = (row) => join(row, { ours: knows, theirs: knows });
    }
    const { take } = store.snapshots;
    Object.assign(store.snapshots, plantedGive(store.snapshots, planted));
    Object.assign(store.snapshots, {
      async take(bytes: Uint8Array) {
        const taken = await take(bytes);
        if (taken.state === "adopted") adopted++;
        return taken;
      },
    });
    const router = virtualRouter();
    const replication = createReplication(
      { store, clock, random: seededRandom(random.integer(2 ** 32)), log: silentLog },
      {
        node: node.name,
        trustDomain,
        methods: "documents",
        requestTimeoutMs: 2000,
        batchBytesMax: 400,
      },
    );
    replication.register(router);
    replication.setNodes(nodes.map(({ name }) => name));
    const hub = options.hubOf?.(node);
    const truncation =
      options.truncation &&
      createTruncation(
        {
          store: {
            vector: () => store.vector(),
            async truncate(limits) {
              const gone = await store.truncate({ ...limits, rowsMax: 7 });
              truncated += gone.operations;
              return gone;
            },
          },
          peers: replication,
          nodes: () => nodes.map(({ name }) => name),
          ...(hub ? { hub } : {}),
          clock,
          log: silentLog,
        },
        { ...options.truncation, node: node.name },
      );
    return Object.assign(node, { store, router, replication, truncation, up: true });
  };

  const cell: SimulatedCell = {
    nodes,
    archive,
    get adopted() {
      return adopted;
    },
    get truncated() {
      return truncated;
    },
    faults: options.faults,
    connect(a, b) {
      cell.cut(a, b);
      if (!a.up || !b.up || a === b) return;
      const end = ({ name, router }: SimulatedNode) => ({
        peer: peerOf(trustDomain, "node", name),
        router,
      });
      const link = virtualLink(
        { clock, random, faults: () => cell.faults },
        { left: end(a), right: end(b) },
      );
      links.set(linkKey(a, b), link);
      a.replication.attach(link.left);
      b.replication.attach(link.right);
    },
    cut(a, b) {
      links.get(linkKey(a, b))?.cut();
      links.delete(linkKey(a, b));
    },
    crash(node) {
      if (!node.up) return;
      node.up = false;
      node.store.close();
      for (const other of nodes) cell.cut(node, other);
      node.replication.stop();
      node.truncation?.stop();
      if (planted === "lost-operation") node.tables.loseLast(node.store.engine.own.name);
    },
    start(node) {
      if (!node.up) open(node);
    },
    join: () => create(`n${++named}`),
    hasSuccessor: (node) =>
      nodes.some((other) => other !== node && other.up && hasAllOf(other, node)),
    leave(node) {
      cell.crash(node);
      nodes.splice(nodes.indexOf(node), 1);
      tellNodes();
    },
    stop() {
      for (const node of nodes) {
        if (node.up) node.replication.stop();
        node.truncation?.stop();
      }
      for (const link of links.values()) link.cut();
    },
  };

  const tellNodes = () => {
    for (const node of nodes) node.replication.setNodes(nodes.map(({ name }) => name));
  };
  const create = (name: string): SimulatedNode => {
    const tables = createMemoryTables(archive);
    if (planted === "lost-row" && name === "n1") {
      const { saveDocument } = tables;
      let saved = 0;
      tables.saveDocument = (row) => {
        if (++saved % 40 !== 0) saveDocument(row);
      };
    }
    const node = { name, tables, skewMs: 0, up: false } as SimulatedNode;
    nodes.push(open(node));
    tellNodes();
    return node;
  };
  let named = 0;
  while (named < options.nodes) cell.join();
  return cell;
}

/** A snapshot as a store would give it that is wrong in this way. */
function plantedGive(
  { give }: MemoryStore["snapshots"],
  planted: Planted,
): Partial<MemoryStore["snapshots"]> {
  let pieces = 0;
  return {
    async give(query) {
      const bytes = await give(query);
      if (!bytes) return undefined;
      const { header: _, ...piece } = decodeSnapshot(bytes);
      if (planted === "snapshot-hole" && ++pieces % 3 === 0)
        return encodeSnapshot({ ...piece, documents: piece.documents.slice(1) });
      if (planted === "snapshot-ahead" && piece.end)
        return encodeSnapshot({
          ...piece,
          end: piece.end.map((each) => ({ ...each, applied: each.applied + 1 })),
        });
      return bytes;
    },
  };
}

function withoutSeen(bytes: Uint8Array): Uint8Array {
  const { origin, from, operations } = decodeOperations(bytes);
  const texts = operations.map((operation) => JSON.stringify({ ...operation, seen: {} }));
  return encodeOperations({ origin, from, texts });
}

const hasAllOf = (one: SimulatedNode, other: SimulatedNode) => {
  const vector = one.store.engine.vector();
  return Object.entries(other.store.engine.vector()).every(
    ([origin, top]) => (vector[origin] ?? 0) >= top,
  );
};
