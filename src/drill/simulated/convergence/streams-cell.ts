/**
 * A cell and its hub in virtual time: real stores on disks whose power can go at any write, the real gate,
 * virtual links, and for each machine a time of day of its own.
 */
import { join } from "node:path";
import { connectHub, type GlobalStore } from "../../../data/index.ts";
import type { Clock } from "../../../lib/clock.ts";
import type { SimulatedClock } from "../../../lib/clock-simulated.ts";
import { seededRandom, type Random } from "../../../lib/random.ts";
import type { Cleared } from "../../../privacy/gate/index.ts";
import { createDiskPower } from "./disk-power.ts";
import { peerOf, virtualLink, type Faults } from "./links.ts";
import { createStreamsHub, hubName, type StreamsHub } from "./streams-hub.ts";
import { openNode, trustDomain, type Node, type NodeOptions } from "./streams-node.ts";

export type Cell = {
  readonly nodes: Map<string, Node>;
  /** Its store; another one after each start. */
  readonly hub: GlobalStore;
  readonly hubMachine: StreamsHub;
  readonly faults: { current: Faults };
  /** Between two nodes, or a node and "hub". */
  connect(a: string, b: string): void;
  cut(a: string, b: string): void;
  connectAll(): void;
  /** The power goes, of a node or of the hub: what was committed stays, and nothing is closed in order. */
  crash(name: string): Promise<void>;
  /** It goes after so many more writes to the file; undefined: it stays. */
  cutAfter(name: string, writes: number | undefined): void;
  /** Stopped as by a person: the store is closed, and its log goes on afterwards. */
  halt(name: string): Promise<void>;
  /** Again, or for the first time. Where the power goes while it opens, it is down. */
  start(name: string, options?: { cutAfter?: number }): Promise<void>;
  /** What a machine's time of day is beyond the right one, from now on. */
  skew(name: string, ms: number): void;
  /** For good, if another store has the whole of it. */
  leave(name: string): Promise<void>;
  /** Who did, in order. */
  readonly departed: readonly Node[];
  stop(): Promise<void>;
};

export type Machine = Node | StreamsHub;

export type CellOptions = NodeOptions & {
  folder: string;
  names: readonly string[];
  faults: Faults;
  /** Nothing is told any more, and the store is closed after this. */
  onDown?: (machine: Machine) => Promise<void>;
  /** Makes a store do what it may not, so that checkers must find it. */
  spoilHub?: (store: GlobalStore) => void;
  /** What no disk may do: with the power of n1 go its last transactions. */
  isForgetful?: boolean;
};

export async function createCell(
  deps: { clock: SimulatedClock; random: Random },
  options: CellOptions,
): Promise<Cell> {
  const { clock, random } = deps;
  const fork = () => seededRandom(random.integer(2 ** 32));
  const faults = { current: options.faults };
  const nodes = new Map<string, Node>();
  const links = new Map<string, { cut(): void }>();
  const linkKey = (a: string, b: string) => [a, b].sort().join("-");
  const skewByName = new Map<string, number>();
  const clockOf = (name: string): Clock => ({
    ...clock,
    wallMs: () => (clock.wallMs() + (skewByName.get(name) ?? 0)) as ReturnType<Clock["wallMs"]>,
  });
  const isolate = (name: string) => {
    for (const other of [...nodes.keys(), hubName]) if (other !== name) cell.cut(name, other);
  };

  /** From here on nothing of it is heard. Called in a write when the power went in it. */
  const silence = (node: Node) => {
    node.up = false;
    isolate(node.name);
    node.replication.stop();
    node.hubSync.stop();
    node.hubNews.stop();
    node.durability.stop();
  };
  const fall = (node: Node) => {
    if (!node.up) return;
    silence(node);
    node.down = (async () => {
      // Until then the statement is under way that the power went in.
      await new Promise((resolve) => setImmediate(resolve));
      await options.onDown?.(node);
      await node.store.close();
      node.power.restore();
    })();
  };

  const departed: Node[] = [];
  /** As the cell's desired state tells every node. */
  const tellNodes = () => {
    for (const { replication } of nodes.values()) replication.setNodes([...nodes.keys()]);
  };
  const hub = await createStreamsHub(
    { clock: clockOf(hubName), fork },
    {
      path: join(options.folder, "hub.db"),
      onCut: () => isolate(hubName),
      onDown: async (machine) => await options.onDown?.(machine),
      spoil: (store) => options.spoilHub?.(store),
    },
  );
  const machine = (name: string): Machine | undefined => (name === hubName ? hub : nodes.get(name));

  const cell: Cell = {
    nodes,
    departed,
    get hub() {
      return hub.store;
    },
    hubMachine: hub,
    faults,
    connect(a, b) {
      cell.cut(a, b);
      const left = nodes.get(a);
      const right = nodes.get(b);
      if (!left?.up || !(b === hubName ? hub.up : right?.up)) return;
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
            : { peer: peerOf("hub.skerry", "hub", "main"), router: hub.router },
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
        cell.connect(a, hubName);
      }
    },
    async crash(name) {
      if (name === hubName) return await hub.crash();
      const node = nodes.get(name);
      if (node?.up) node.power.cut();
      await node?.down;
    },
    cutAfter(name, writes) {
      const { up, power } = machine(name) ?? { up: false };
      if (up) power?.cutAfter(writes);
    },
    async halt(name) {
      const node = nodes.get(name);
      if (!node?.up) return;
      silence(node);
      await options.onDown?.(node);
      await node.store.close();
      // In what was written last, it may have gone all the same.
      if (node.power.isOut) node.power.restore();
    },
    async start(name, { cutAfter } = {}) {
      if (name === hubName) return await hub.start({ cutAfter });
      const before = nodes.get(name);
      if (before?.up) return;
      await before?.down;
      const path = join(options.folder, `${name}.db`);
      const isForgetful = name === "n1" && options.isForgetful === true;
      const onCut = () => {
        if (node !== undefined) fall(node);
      };
      const power = createDiskPower(path, onCut, { isForgetful });
      power.cutAfter(cutAfter);
      let node: Node | undefined;
      try {
        node = await openNode(
          { clock: clockOf(name), fork, power, cellNodes: () => nodes.size },
          { ...options, name, path },
        );
      } catch (error) {
        if (!power.isOut) throw error;
        return power.restore();
      }
      nodes.set(name, node);
      tellNodes();
    },
    skew: (name, ms) => void skewByName.set(name, ms),
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
        await node.down;
        if (!node.up) continue;
        node.replication.stop();
        node.hubSync.stop();
        node.hubNews.stop();
        node.durability.stop();
        await node.store.close();
      }
      await hub.stop();
    },
  };
  for (const name of options.names) await cell.start(name);
  return cell;
}
