/** A node of a simulated cell: its real store, and what carries entries from it to other nodes and the hub. */
import {
  createDurability,
  createHubNews,
  createHubSync,
  createReplication,
  encodeBatch,
  logsAndLanes,
  openStreamStore,
  parseLane,
  wordOfStreams,
  type Durability,
  type HubNews,
  type HubSync,
  type LocalStreamStore,
  type Replication,
  type SealingOptions,
  type StreamDeclaration,
} from "../../../data/index.ts";
import type { Clock } from "../../../lib/clock.ts";
import { silentLog } from "../../../lib/log.ts";
import type { Random } from "../../../lib/random.ts";
import { createGate, type Cleared } from "../../../privacy/gate/index.ts";
import type { DiskPower } from "./disk-power.ts";
import { virtualRouter, type VirtualRouter } from "./links.ts";

export const trustDomain = "cell-a.skerry";

export type Node = {
  readonly name: string;
  readonly path: string;
  readonly power: DiskPower;
  up: boolean;
  /** Resolves when its files are what the power left of them. */
  down?: Promise<void>;
  store: LocalStreamStore;
  router: VirtualRouter;
  replication: Replication;
  hubSync: HubSync<Cleared<Uint8Array>>;
  hubNews: HubNews;
  durability: Durability;
};

export type NodeOptions = {
  streams: readonly StreamDeclaration[];
  batchBytesMax?: number;
  sealing?: SealingOptions;
  /** Makes a store do what it may not, so that checkers must find it. */
  spoilNode?: (store: LocalStreamStore, name: string) => void;
};

/** Throws what opening the store throws. */
export async function openNode(
  deps: { clock: Clock; fork: () => Random; power: DiskPower; cellNodes: () => number },
  options: NodeOptions & { name: string; path: string },
): Promise<Node> {
  const { clock, fork, power, cellNodes } = deps;
  const { name, path, streams, batchBytesMax } = options;
  const log = silentLog;
  const store = openStreamStore(
    { clock, random: fork(), log, openFile: power.openFile },
    { path, node: name, sealing: options.sealing },
  );
  options.spoilNode?.(store, name);
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
  const priorityOf = (log: string) =>
    streams.find((stream) => stream.name === parseLane(log)?.stream)?.priority ?? 0;
  const hubSync = createHubSync(
    { store: logsAndLanes(store), egress, clock, random: fork(), log },
    { node: name, requestTimeoutMs: 2000, batchBytesMax, priorityOf },
  );
  const hubNews = createHubNews(
    { word: wordOfStreams(hubSync, logsAndLanes(store)), clock, log },
    { trustDomain, requestTimeoutMs: 2000 },
  );
  hubNews.register(router);
  const durability = createDurability({
    store,
    peers: replication,
    hub: hubSync,
    cellNodes,
    leaves: (stream) => streams.find((s) => s.name === stream)?.egress !== undefined,
    clock,
    log,
  });
  return { name, path, power, up: true, store, router, replication, hubSync, hubNews, durability };
}
