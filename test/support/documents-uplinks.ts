/**
 * A hub beside a simulated cell of documents: uplinks that come and go, power cuts at the hub, and an
 * egress that changes and that nodes hear of at different times. Checked all the way: readers at the
 * hub see causes and whole batches, and what it is said to have, it has. In the end it has what the
 * nodes have, less what the egress of now does not let out; and the nodes have what the hub publishes
 * for them, and never showed anything else of it.
 */
import { stable, type EgressPolicy } from "../../src/api/index.ts";
import type { Engine } from "../../src/data/documents/engine.ts";
import { shapeOf } from "../../src/data/documents/leaving.ts";
import { readOperation } from "../../src/data/documents/operation.ts";
import { readSnapshot } from "../../src/data/documents/snapshots.ts";
import type { Feed } from "../../src/data/global/feed-book.ts";
import {
  connectDocumentHub,
  createDocumentsPull,
  createDocumentsSync,
  encodeLeaving,
  encodeLeavingSnapshot,
  registerGlobalDocuments,
  type CollectionEgress,
  type DocumentEgress,
  type DocumentsPull,
  type DocumentsSync,
  type DocumentWrite,
} from "../../src/data/index.ts";
import type { Beside } from "../../src/drill/simulated/convergence/documents.ts";
import {
  trustDomain,
  type SimulatedCell,
  type SimulatedNode,
} from "../../src/drill/simulated/convergence/documents-cell.ts";
import { createMemoryHub } from "../../src/drill/simulated/convergence/documents-hub.ts";
import { checkMarks, ids } from "../../src/drill/simulated/convergence/documents-checks.ts";
import type { MemoryStore } from "../../src/drill/simulated/convergence/documents-memory.ts";
import { peerOf, virtualLink, virtualRouter } from "../../src/drill/simulated/convergence/links.ts";
import { demand } from "../../src/drill/simulated/convergence/violation.ts";
import type { SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import {
  createOperationGate,
  createOperationRecheck,
  type Cleared,
} from "../../src/privacy/gate/index.ts";
import { items } from "./documents.ts";
import { leaving } from "./documents-leaving.ts";

/** Of `by` all let out everything, so that causes can be checked at the hub. */
const policies: readonly EgressPolicy[] = [
  { keep: ["by", "name", "stock"] },
  { keep: ["by", "size.mm", "tags", "steps"] },
  { drop: ["size", "name"] },
  { drop: [] },
  { keep: ["by", "size", "stock", "steps"], drop: ["size.inch"] },
];

const prices = ids.map((id) => `price-${id}`);

type Bytes = Cleared<Uint8Array>;
type Uplink = {
  readonly node: SimulatedNode;
  readonly store: MemoryStore;
  readonly sync: DocumentsSync<Bytes>;
  readonly pull: DocumentsPull;
  declare(): void;
  link: { cut(): void } | undefined;
};

export type HubPlanted =
  | "none"
  /** What was seen on the way over covered positions is forgotten. */
  | "no-seen"
  /** The hub says that it has more than it has. */
  | "claims";

export function besideHub(planted: HubPlanted = "none") {
  return (
    cell: SimulatedCell,
    { clock, random }: { clock: SimulatedClock; random: Random },
  ): Beside => {
    const chance = (share: number) => random.float() < share;
    const pick = <T>(list: readonly T[]): T => list[random.integer(list.length)] as T;
    const uplinks = new Map<string, Uplink>();
    /** What each node last heard of the egress; it lasts over its restarts. */
    const heard = new Map<string, CollectionEgress | undefined>();
    let revision = 0;
    let egress: CollectionEgress | undefined;
    const change = (policy: EgressPolicy | undefined) => {
      revision++;
      egress = policy && { policy, revision };
    };
    const cutAll = () => {
      for (const uplink of uplinks.values()) cut(uplink);
    };
    const hub = createMemoryHub({
      clock,
      onPowerCut() {
        cutAll();
        hub.restart();
      },
    });
    const router = virtualRouter();
    const { feeds, ingest } = hub;
    registerGlobalDocuments(
      router,
      {
        clock,
        store: {
          feeds,
          fill: (from, bytes) => hub.fill(from, bytes),
          pull: (query) => hub.pull(query),
          on: (event, listener) => hub.on(event, listener),
          async ingest(from, bytes) {
            const states = await ingest(from, bytes);
            const told = states["items"];
            if (planted !== "claims" || told?.state !== "open") return states;
            const tops = Object.entries(told.tops).map(([origin, top]) => [origin, top + 1]);
            return { items: { state: "open", tops: Object.fromEntries(tops) } };
          },
        },
      },
      (peer) => peer.trustDomain,
    );

    const cut = (uplink: Uplink) => {
      uplink.link?.cut();
      uplink.link = undefined;
    };
    const connect = (uplink: Uplink) => {
      cut(uplink);
      const { node, sync } = uplink;
      if (!node.up) return;
      const link = virtualLink(
        { clock, random, faults: () => cell.faults },
        {
          left: { peer: peerOf(trustDomain, "node", node.name), router: node.router },
          right: { peer: peerOf("hub.skerry", "hub", "main"), router },
        },
      );
      uplink.link = link;
      // Of indexes, which are no part of what is checked here, the link hears nothing.
      const connected = { ...connectDocumentHub<Bytes>(link.left), index: async () => undefined };
      sync.attach(connected, link.left.closed);
      uplink.pull.attach(connected, link.left.closed);
    };
    const open = (node: SimulatedNode): Uplink => {
      const { store } = node;
      const gate = createOperationGate({
        encode: (batch) =>
          encodeLeaving(
            planted === "no-seen"
              ? {
                  ...batch,
                  operations: batch.operations.map((each) =>
                    each.covers === undefined ? each : { ...each, seen: {} },
                  ),
                }
              : batch,
          ),
        encodeSnapshot: encodeLeavingSnapshot,
        log: silentLog,
      });
      const source: DocumentEgress<Bytes> = {
        async clear({ origin, from, to = Infinity, collections }) {
          const isHere = node.up && node.store === store;
          const piece = isHere ? store.engine.texts({ origin, from, bytesMax: 300 }) : undefined;
          if (!piece) return undefined;
          const operations = piece.texts.slice(0, to - piece.from + 1).map(readOperation);
          const end = piece.from + operations.length - 1;
          const vector = store.engine.vector();
          return gate.clear({ origin, from: piece.from, to: end, operations, vector }, collections);
        },
        async clearSnapshot({ collection, after }) {
          if (!node.up || node.store !== store) return undefined;
          const parts = { engine: store.engine, tables: node.tables };
          const query = { after, collection, bytesMax: 300 };
          return gate.clearSnapshot(readSnapshot(parts, store.engine.own.name, query), collection);
        },
      };
      const sync = createDocumentsSync<Bytes>(
        {
          store,
          egress: source,
          lets: createOperationRecheck().lets,
          clock,
          random: seededRandom(random.integer(2 ** 32)),
          log: silentLog,
        },
        { node: node.name, requestTimeoutMs: 2000, batchBytesMax: 400, foreignLagMs: 1500 },
      );
      const declare = () => {
        const known = heard.get(node.name);
        gate.setPolicies(known ? { items: known } : {});
        sync.declare([{ ...items, ...(known ? { egress: known } : {}) }]);
      };
      declare();
      const fork = seededRandom(random.integer(2 ** 32));
      const pull = createDocumentsPull({ store, clock, random: fork, log: silentLog });
      pull.declare(["prices"]);
      return { node, store, sync, pull, declare, link: undefined };
    };
    /** Nodes that crashed, restarted, joined or left since. */
    const refresh = () => {
      for (const [name, uplink] of uplinks) {
        const { node, store, sync, pull } = uplink;
        if (node.up && node.store === store && cell.nodes.includes(node)) continue;
        cut(uplink);
        sync.stop();
        pull.stop();
        uplinks.delete(name);
      }
      for (const node of cell.nodes) {
        if (!node.up || uplinks.has(node.name)) continue;
        const uplink = open(node);
        uplinks.set(node.name, uplink);
        if (chance(0.7)) connect(uplink);
      }
    };
    const hear = ({ node, declare }: Uplink) => {
      heard.set(node.name, egress);
      declare();
    };
    const write = (node: SimulatedNode, writes: readonly DocumentWrite[]) => {
      try {
        node.store.write(writes, false);
      } catch (error) {
        if (!(error instanceof SkerryError) || error.code !== "closed") throw error;
      }
    };

    /** Of each price, what cells were ever to see of it. */
    const everShown = new Map<string, Set<string>>();
    const reprice = () => {
      const cells = pick([[trustDomain], ["other"], [trustDomain, "other"]]);
      const id = pick(prices);
      const at = { collection: "prices", id };
      const body = { euro: random.integer(1000), cells };
      const known = everShown.get(id) ?? new Set();
      if (cells.includes(trustDomain)) everShown.set(id, known.add(stable(body)));
      try {
        hub.write([chance(0.15) ? { ...at, do: "delete" } : { ...at, do: "put", body }]);
      } catch (error) {
        if (!(error instanceof SkerryError) || error.code !== "closed") throw error;
      }
    };
    const pricesAt = ({ store }: SimulatedNode, id: string) =>
      store.engine.documents.shown("prices", id);
    const pricesAtHub = (id: string) => {
      const own = hub.published.feed("prices", "");
      const body = own && hub.published.engineOf(own).documents.shown("prices", id).body;
      return (body?.["cells"] as readonly string[] | undefined)?.includes(trustDomain)
        ? body
        : undefined;
    };
    const hasPrices = (node: SimulatedNode) =>
      prices.every((id) => stable(pricesAt(node, id).body) === stable(pricesAtHub(id)));
    const checkPrices = (node: SimulatedNode) => {
      for (const id of prices) {
        const { body, conflicts } = pricesAt(node, id);
        // Between the clearing and the deletion of one that leaves, it is empty.
        const isKnown =
          !body || Object.keys(body).length === 0 || everShown.get(id)?.has(stable(body));
        demand("differs", isKnown === true, () => `${node.name} shows a price that never was`);
        demand("differs", conflicts.length === 0, () => `a price at ${node.name} has conflicts`);
      }
    };

    const copy = (): Feed | undefined => hub.current.live({})[0];
    const engineOf = (feed: Feed): Engine => hub.current.engineOf(feed);
    const check = () => {
      for (const { node } of uplinks.values()) if (node.up) checkPrices(node);
      const shown = copy();
      if (shown) checkMarks("the hub", engineOf(shown));
      for (const { node, sync } of uplinks.values()) {
        const known = heard.get(node.name);
        if (!known) continue;
        const wish = { ...shapeOf(known), revision: known.revision };
        const { items: state } = hub.current.states(trustDomain, { items: wish });
        if (state?.state !== "open") continue;
        for (const [origin, top] of Object.entries(sync.vector()))
          demand(
            "claimed",
            top <= (state.tops[origin] ?? 0),
            () => `${node.name} was told that the hub has more of ${origin}`,
          );
      }
    };

    hub.publish({ name: "prices", cellField: "/cells" });
    change(pick(policies));
    refresh();
    for (const uplink of uplinks.values()) hear(uplink);
    return {
      step() {
        refresh();
        const all = [...uplinks.values()];
        if (all.length > 0) {
          const uplink = pick(all);
          const dice = random.float();
          if (dice < 0.08) cut(uplink);
          else if (dice < 0.2) connect(uplink);
          else if (dice < 0.25) hub.cutAfter(random.integer(12));
          else if (dice < 0.27) change(pick([...policies, undefined]));
          else if (dice < 0.4) hear(uplink);
          else if (dice < 0.6) write(uplink.node, secretly(pick(ids), random));
        }
        if (chance(0.2)) reprice();
        check();
      },
      heal() {
        hub.restart();
        cutAll();
        change(pick(policies));
        refresh();
        for (const uplink of uplinks.values()) {
          connect(uplink);
          hear(uplink);
        }
      },
      get isSettled() {
        check();
        const shown = copy();
        const [first] = cell.nodes;
        if (!shown || !first || hub.current.isRenewing(shown)) return false;
        return (
          shown.revision === revision &&
          cell.nodes.every(hasPrices) &&
          engineOf(shown).waiting === 0 &&
          stable(engineOf(shown).vector()) === stable(first.store.engine.vector())
        );
      },
      check() {
        const shown = copy();
        const [first] = cell.nodes;
        if (!shown || !first) throw new Error("a hub without a copy");
        for (const { sync, pull } of uplinks.values()) {
          sync.stop();
          pull.stop();
        }
        demand(
          "differs",
          hub.current.live({}).length === 1,
          () => "the hub has what may not leave",
        );
        for (const id of [...ids, "tally", "left", "right"]) {
          const [whole, left] = [first.store.engine, engineOf(shown)].map(({ documents }) => ({
            body: documents.shown("items", id).body,
            version: documents.version("items", id),
          }));
          const expected = whole?.body && leaving(shown.policy, whole.body);
          demand(
            "differs",
            stable(left) === stable({ body: expected, version: whole?.version }),
            () => `${id} at the hub differs`,
          );
        }
      },
    };
  };
}

/** A write that stays, alone or with one that leaves. */
function secretly(id: string, random: Random): DocumentWrite[] {
  const changes = [{ change: "set", path: "/size/inch", value: random.integer(9) }] as const;
  const secret: DocumentWrite = { collection: "secrets", id: `s-${id}`, do: "change", changes };
  return random.float() < 0.5
    ? [secret]
    : [secret, { collection: "items", id, do: "change", changes }];
}
