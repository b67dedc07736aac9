/** A cell and its hub in virtual time: real stores on disk, the real gate, virtual links. */
import { join } from "node:path";
import {
  connectHub,
  createDurability,
  createHubNews,
  createHubSync,
  createReplication,
  encodeBatch,
  logsAndLanes,
  openGlobalStore,
  openStreamStore,
  parseLane,
  registerGlobalStore,
  type Durability,
  type GlobalStore,
  type HubNews,
  type HubSync,
  type LocalStreamStore,
  type Replication,
  type SealingOptions,
  type StreamDeclaration,
} from "../../../data/index.ts";
import type { SimulatedClock } from "../../../lib/clock-simulated.ts";
import { silentLog } from "../../../lib/log.ts";
import { seededRandom, type Random } from "../../../lib/random.ts";
import { readMarker, writeMarker } from "../../../data/inside/index.ts";
import { createGate, createRecheck, type Cleared } from "../../../privacy/gate/index.ts";
import { peerOf, virtualLink, virtualRouter, type Faults, type VirtualRouter } from "./links.ts";

export const trustDomain = "cell-a.skerry";

export type Node = {
  readonly name: string;
  readonly path: string;
  up: boolean;
  store: LocalStreamStore;
  router: VirtualRouter;
  replication: Replication;
  hubSync: HubSync<Cleared<Uint8Array>>;
  hubNews: HubNews;
  durability: Durability;
};

export type Cell = {
  readonly nodes: Map<string, Node>;
  readonly hub: GlobalStore;
  readonly faults: { current: Faults };
  /** Between two nodes, or a node and "hub". */
  connect(a: string, b: string): void;
  cut(a: string, b: string): void;
  connectAll(): void;
  /** The process dies: what was committed stays, the store is not closed in order. */
  crash(name: string): Promise<void>;
  /** Again, or for the first time. */
  start(name: string): Promise<void>;
  /** For good, if another store has the whole of it. */
  leave(name: string): Promise<void>;
  /** Who did, in order. */
  readonly departed: readonly Node[];
  stop(): Promise<void>;
};

export async function createCell(
  deps: { clock: SimulatedClock; random: Random },
  options: {
    folder: string;
    names: readonly string[];
    streams: readonly StreamDeclaration[];
    faults: Faults;
    batchBytesMax?: number;
    sealing?: SealingOptions;
    /** A node's process has died: nothing is told any more, and its store is closed after this. */
    onDown?: (node: Node) => Promise<void>;
  },
): Promise<Cell> {
  const { clock, random } = deps;
  const { streams, batchBytesMax } = options;
  const fork = () => seededRandom(random.integer(2 ** 32));
  const faults = { current: options.faults };
  const log = silentLog;
  const hub = openGlobalStore(
    { clock, random: fork(), log, recheck: createRecheck() },
    { path: join(options.folder, "hub.db") },
  );
  const hubRouter = virtualRouter();
  registerGlobalStore(hubRouter, hub, (peer) => peer.trustDomain.split(".")[0]);
  const nodes = new Map<string, Node>();
  const links = new Map<string, { cut(): void }>();
  const linkKey = (a: string, b: string) => [a, b].sort().join("-");

  const priorityOf = (log: string) =>
    streams.find((stream) => stream.name === parseLane(log)?.stream)?.priority ?? 0;
  const parts = async (name: string, path: string): Promise<Node> => {
    const store = openStreamStore(
      { clock, random: fork(), log },
      { path, node: name, sealing: options.sealing },
    );
    await store.setStreams(streams);
    const gate = createGate({ encode: encodeBatch, log });
    gate.setPolicies(
      Object.fromEntries(streams.flatMap(({ name: s, egress }) => (egress ? [[s, egress]] : []))),
    );
    const egress = {
      clear: async (query: { origin: string; from: number; bytesMax?: number }) => {
        const batch = store.readLeaving(query);
        return batch && gate.clear(batch);
      },
    };
    const router = virtualRouter();
    const replication = createReplication(
      { store, clock, random: fork(), log },
      { node: name, trustDomain, requestTimeoutMs: 2000, batchBytesMax },
    );
    replication.register(router);
    const hubSync = createHubSync(
      { store: logsAndLanes(store), egress, clock, random: fork(), log },
      { node: name, requestTimeoutMs: 2000, batchBytesMax, priorityOf },
    );
    const hubNews = createHubNews(
      { hub: hubSync, store: logsAndLanes(store), clock, log },
      { trustDomain, requestTimeoutMs: 2000 },
    );
    hubNews.register(router);
    const durability = createDurability({
      store,
      peers: replication,
      hub: hubSync,
      cellNodes: () => nodes.size,
      leaves: (stream) => streams.find((s) => s.name === stream)?.egress !== undefined,
      clock,
      log,
    });
    return { name, path, up: true, store, router, replication, hubSync, hubNews, durability };
  };

  const departed: Node[] = [];
  /** As the cell's desired state tells every node. */
  const tellNodes = () => {
    for (const { replication } of nodes.values()) replication.setNodes([...nodes.keys()]);
  };
  const cell: Cell = {
    nodes,
    departed,
    hub,
    faults,
    connect(a, b) {
      cell.cut(a, b);
      const left = nodes.get(a);
      const right = nodes.get(b);
      if (!left?.up || (b !== "hub" && !right?.up)) return;
      const end = (node: Node) => ({
        peer: peerOf(trustDomain, "node", node.name),
        router: node.router,
      });
      const link = virtualLink(
        { clock, random, faults: () => faults.current },
        {
          left: end(left),
          right: right
            ? end(right)
            : { peer: peerOf("hub.skerry", "hub", "main"), router: hubRouter },
        },
      );
      links.set(linkKey(a, b), link);
      if (right) {
        for (const [node, own] of [
          [left, link.left],
          [right, link.right],
        ] as const) {
          node.replication.attach(own);
          node.hubNews.attach(own);
        }
      } else {
        left.hubSync.attach(connectHub<Cleared<Uint8Array>>(link.left), link.left.closed);
      }
    },
    cut(a, b) {
      links.get(linkKey(a, b))?.cut();
      links.delete(linkKey(a, b));
    },
    connectAll() {
      const names = [...nodes.keys()];
      for (const [index, a] of names.entries()) {
        for (const b of names.slice(index + 1)) cell.connect(a, b);
        cell.connect(a, "hub");
      }
    },
    async crash(name) {
      const node = nodes.get(name);
      if (!node?.up) return;
      node.up = false;
      for (const other of [...nodes.keys(), "hub"]) if (other !== name) cell.cut(name, other);
      node.replication.stop();
      node.hubSync.stop();
      node.hubNews.stop();
      node.durability.stop();
      await options.onDown?.(node);
      await node.store.close();
      const marker = readMarker(node.path);
      if (marker === undefined || marker === "torn") throw new Error("the marker is gone");
      writeMarker(node.path, { token: marker.token, inode: marker.inode });
    },
    async start(name) {
      if (nodes.get(name)?.up) return;
      nodes.set(name, await parts(name, join(options.folder, `${name}.db`)));
      tellNodes();
    },
    async leave(name) {
      const node = nodes.get(name);
      if (!node?.up) return;
      const others = [...nodes.values()].filter((other) => other !== node && other.up);
      const own = Object.entries(await node.store.vector());
      const vectors = await Promise.all(others.map(({ store }) => store.vector()));
      if (!vectors.some((vector) => own.every(([origin, top]) => (vector[origin] ?? 0) >= top)))
        return;
      await cell.crash(name);
      nodes.delete(name);
      departed.push(node);
      tellNodes();
    },
    async stop() {
      for (const link of links.values()) link.cut();
      for (const node of nodes.values()) {
        if (!node.up) continue;
        node.replication.stop();
        node.hubSync.stop();
        node.hubNews.stop();
        node.durability.stop();
        await node.store.close();
      }
      await hub.close();
    },
  };
  for (const name of options.names) await cell.start(name);
  return cell;
}
