/**
 * The way of stored entries: this store → peers of the cell, by position in each origin's log; and
 * [storage thread] the egress gate → the hub's link. Nothing else here reaches the hub: `HubSync`
 * takes only what the gate minted (`Cleared`), and the hub looks again.
 */
import {
  nodeKind,
  parseDurabilityLevel,
  streamKind,
  type DurabilityLevel,
  type Node,
  type Stream,
} from "../../api/index.ts";
import {
  connectHub,
  connectStreamStore,
  createDurability,
  createGroupRoutes,
  createHubNews,
  createHubSync,
  createReplication,
  createSegmentRepair,
  createStreamRoutes,
  logsAndLanes,
  wholeReads,
  wordOfStreams,
  type Durability,
  type HubBudget,
  type HubSync,
  type StreamDeclaration,
  type StreamStore,
} from "../../data/index.ts";
import { parseBytes, parseDurationMs } from "../../lib/duration.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Link } from "../../transport/index.ts";
import { followHubAddress } from "../cell-hub.ts";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";
import type { ClearedBytes } from "../storage.ts";
import { startHubBudget } from "./hub-budget-path.ts";

export type SyncPath = {
  readonly store: StreamStore;
  /** The same, whose readers get what is damaged here from a copy. */
  readonly readable: StreamStore;
  readonly durability: Durability;
  readonly hub: HubSync<ClearedBytes>;
  /** What may go to the hub, of documents too. */
  readonly budget: HubBudget;
  readonly routes: Routes;
  /** Nodes that tell of more of this node's entries than they can show. */
  doubted(): readonly string[];
  /** A link to another node of the cell stands. */
  attachPeer(link: Link): void;
  /** A link to the hub stands. */
  attachHub(link: Link): void;
};

export async function startSyncPath(
  ground: Ground,
  deps: { mirrored: Mirrored; trustDomain: string },
): Promise<SyncPath> {
  const { clock, random, log, lifecycle, metrics, record, storage } = ground;
  const { mirrored } = deps;
  const store = await lifecycle.start(
    "streams",
    () => connectStreamStore<ClearedBytes>(storage, { node: record.node }),
    // Its marker says that nothing was cut off.
    (part) => part.close(),
  );
  const replication = await lifecycle.start(
    "replication",
    () =>
      createReplication(
        { store, clock, random, log },
        { node: record.node, trustDomain: deps.trustDomain },
      ),
    (part) => part.stop(),
  );
  replication.register(ground.router);
  const repair = await lifecycle.start(
    "segment repair",
    () =>
      createSegmentRepair(
        { repairs: store.repairs, clock, log, metrics },
        { node: record.node, trustDomain: deps.trustDomain },
      ),
    (part) => part.stop(),
  );
  repair.register(ground.router);
  const readable = wholeReads(store, repair);
  const { budget, priorityOf, declare } = await startHubBudget(ground, store);
  const hub = await lifecycle.start(
    "hub sync",
    () =>
      createHubSync<ClearedBytes>(
        { store: logsAndLanes(store), egress: store, clock, random, log },
        { node: record.node, priorityOf, budget },
      ),
    (part) => part.stop(),
  );

  let hasHub = false;
  let nodes: readonly string[] = [];
  const expect = () => repair.expect({ nodes, hub: hasHub });
  followHubAddress({ record, mirrored }, () => {
    hasHub = true;
    expect();
    store
      .expectHub()
      .catch((error: unknown) => log.error("the store was not told of the hub", { error }));
  });
  const news = await lifecycle.start(
    "hub news",
    () =>
      createHubNews(
        { word: wordOfStreams(hub, logsAndLanes(store)), hasHub: () => hasHub, clock, log },
        { trustDomain: deps.trustDomain },
      ),
    (part) => part.stop(),
  );
  news.register(ground.router);

  let streams: readonly Stream[] = [];
  const durability = await lifecycle.start(
    "durability",
    () =>
      createDurability({
        store,
        peers: replication,
        hub,
        hasHub: () => hasHub,
        cellNodes: () => Math.max(1, nodes.length),
        leaves: (name) =>
          streams.some(
            (stream) => stream.metadata.name === name && stream.spec?.egress !== undefined,
          ),
        clock,
        log,
      }),
    (part) => part.stop(),
  );

  const levelOf = (name: string): DurabilityLevel => {
    const { spec } = streams.find(({ metadata }) => metadata.name === name) ?? {};
    return parseDurabilityLevel(spec?.durability ?? "local") ?? { level: "local" };
  };
  mirrored.follow(streamKind, (now: readonly Stream[]) => {
    streams = now;
    declare(now);
    store
      .setStreams(now.map(declarationOf))
      .catch((error: unknown) => log.error("streams were not declared to the store", { error }));
  });
  mirrored.follow(nodeKind, (now: readonly Node[]) => {
    nodes = now.map(({ metadata }) => metadata.name);
    expect();
    replication.setNodes(nodes);
  });

  return {
    store,
    readable,
    durability,
    hub,
    budget,
    routes: (app) => {
      createStreamRoutes(readable, { clock })(app);
      createGroupRoutes(readable, { clock, levels: { durability, levelOf } })(app);
    },
    doubted: () => replication.doubted(),
    attachPeer(link) {
      replication.attach(link);
      news.attach(link);
      repair.attachPeer(link);
    },
    attachHub(link) {
      hub.attach(connectHub<ClearedBytes>(link), link.closed);
      repair.attachHub(link);
    },
  };
}

function declarationOf({ metadata, spec }: Stream): StreamDeclaration {
  const { maxAge, maxBytes, whenFull } = spec?.retention ?? {};
  return {
    name: metadata.name,
    retention: {
      ...(maxAge === undefined ? {} : { ageMs: parseDurationMs(maxAge, "spec.retention.maxAge") }),
      ...(maxBytes === undefined
        ? {}
        : { bytesMax: parseBytes(maxBytes, "spec.retention.maxBytes") }),
      ...(whenFull === "drop" ? { whenFull } : {}),
    },
    ...(spec?.egress === undefined ? {} : { egress: spec.egress }),
    ...(spec?.priority === undefined ? {} : { priority: spec.priority }),
    ...(spec?.hubBudget === undefined ? {} : { hasBudget: true }),
  };
}
