/**
 * Replication between the nodes of a cell. A node pushes its own log to every peer as it grows, a few
 * batches under way at a time; and once a second it compares vectors and pulls what it lacks, from
 * whoever has it: so the log of a dead node goes on spreading. Two that have the same compare again when
 * one of them has grown, and else seldom. Vectors told are durable ones (D2).
 */
import { every, type Clock } from "../../lib/clock.ts";
import { isAbort, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Random } from "../../lib/random.ts";
import { createSignals } from "../../lib/signals.ts";
import type { Link, Peer, Router } from "../../transport/index.ts";
import type { ReplicatedStore, Vector } from "./replicated.ts";
import { decodePull, decodeSnapshotWish, decodeVector, encodeJson } from "./messages.ts";
import { peerNode } from "./peer-node.ts";
import { createOwnLog } from "./own-log.ts";
import { createPuller } from "./pull.ts";
import { createPush, type Push } from "./push.ts";
import { covers } from "./vectors.ts";

export type ReplicationOptions = {
  readonly node: string;
  /** What the methods on the links begin with: one replication for each store. Default "data". */
  readonly methods?: string;
  /** Only nodes of this trust domain are peers. */
  readonly trustDomain: string;
  /** Between two comparisons of vectors while stores differ or grow; each may be shorter. Default 1000. */
  readonly periodMs?: number;
  /** Default 256 KiB. */
  readonly batchBytesMax?: number;
  /** Default 20,000. */
  readonly requestTimeoutMs?: number;
};

export interface Replication {
  /** Answers `data.push`, `data.pull` and `data.vector`, or what `methods` says instead of `data`. */
  register(router: Router): void;
  /** Replicates over this link until it closes. The newest link to a node is the one used. */
  attach(link: Link): void;
  /** Compares vectors now. */
  hint(): void;
  /**
   * The last durable vector each other node told of, whether it is linked now or not. Of nodes of the
   * cell only, once `setNodes` said who they are.
   */
  vectorsByNode(): ReadonlyMap<string, Vector>;
  /**
   * The nodes of the cell now. Who left it no longer counts as a holder, whatever it still tells; one of
   * that name that comes later has what it tells from then on. Links stay: with who is in the cell again,
   * or not yet, replication goes on.
   */
  setNodes(nodes: readonly string[]): void;
  /** Nodes that tell of more of this store's log than they can show. */
  doubted(): readonly string[];
  on(event: "vectors", listener: (change: { node: string }) => void): () => void;
  stop(): void;
}

type PeerState = {
  readonly node: string;
  vector: Record<string, number>;
  link: Link | undefined;
  push: Push | undefined;
  comparing: Link | undefined;
  /** Since when both had the same and nothing was under way; undefined: compare in the next round. */
  calmFromMs: number | undefined;
};

/** Between two comparisons of stores that had the same and have not grown since: for what no event tells. */
const calmMs = 10_000;

export type ReplicationDeps = {
  readonly store: ReplicatedStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

export function createReplication(deps: ReplicationDeps, options: ReplicationOptions): Replication {
  const { store, clock, random, log } = deps;
  const periodMs = options.periodMs ?? 1000;
  const batchBytesMax = options.batchBytesMax ?? 256 * 1024;
  const timeoutMs = options.requestTimeoutMs ?? 20_000;
  const methods = options.methods ?? "data";
  const peersByNode = new Map<string, PeerState>();
  const signals = createSignals<{ vectors: { node: string } }>({
    onListenerError: (error) => log.error("a listener of replication failed", { error }),
  });
  const ownLog = createOwnLog({ store, clock, log }, { methods, timeoutMs });
  const puller = createPuller({ store, log }, { methods, batchBytesMax, timeoutMs });
  /** Undefined until they are known: then everybody counts. */
  let members: ReadonlySet<string> | undefined;
  let stopped = false;
  let latest: Vector = {};
  /** Counts what makes a comparison old that is under way. */
  let growths = 0;

  const stateOf = (node: string): PeerState => {
    const known = peersByNode.get(node);
    if (known) return known;
    const state: PeerState = {
      node,
      vector: {},
      link: undefined,
      push: undefined,
      comparing: undefined,
      calmFromMs: undefined,
    };
    peersByNode.set(node, state);
    return state;
  };

  const nodeOf = (peer: Peer): string => peerNode(peer, options.trustDomain);

  const tell = (state: PeerState, vector: Vector) => {
    Object.assign(state.vector, vector);
    signals.emit("vectors", { node: state.node });
  };

  /** A lost link is the normal end of it; what else goes wrong is tried again in the next round. */
  const complain = (state: PeerState, link: Link) => (error: unknown) => {
    if (link.closed.aborted || isAbort(error) || stopped) return;
    // A peer of an earlier version, in the middle of an upgrade: no reason to wake anybody each second.
    if (error instanceof SkerryError && error.code === "unknown-method")
      log.debug("a peer does not replicate this yet", { peer: state.node, methods });
    else log.warn("replicating with a peer failed; it is tried again", { peer: state.node, error });
  };

  /** Both sides learn the other's vector; then this side pulls what it lacks. */
  const compare = async (state: PeerState, link: Link) => {
    if (state.comparing === link) return;
    state.comparing = link;
    state.calmFromMs = undefined;
    const ackedBefore = state.push?.acked ?? 0;
    const growthsBefore = growths;
    try {
      const mine = await store.vector();
      const answer = await link.request(`${methods}.vector`, encodeJson(mine), {
        timeoutMs,
        priority: 0,
      });
      if (state.link !== link || stopped) return;
      const heard = await ownLog.hear(link, state.node, decodeVector(answer));
      const { origin, told: theirs, isDoubted } = heard;
      if (state.link !== link || stopped) return;
      state.vector = { ...theirs };
      tell(state, {});
      state.push ??= createPush(
        { store, link, log, onAck: (vector) => tell(state, vector) },
        { methods, batchBytesMax, timeoutMs },
      );
      const top = Math.max(mine[origin] ?? 0, latest[origin] ?? 0);
      // From where on it lacks this store's log nobody can say.
      if (!isDoubted) state.push.resume({ origin, after: theirs[origin] ?? 0, top, ackedBefore });
      void puller.pull(link, { origin, mine, theirs }).then(
        (hasAll) => {
          if (hasAll && isSame(mine, theirs) && growths === growthsBefore && state.link === link)
            state.calmFromMs = clock.monotonicMs();
        },
        complain(state, link),
      );
    } catch (error) {
      complain(state, link)(error);
    } finally {
      if (state.comparing === link) state.comparing = undefined;
    }
  };

  const compareAll = (isDue: (state: PeerState) => boolean = () => true) => {
    for (const state of peersByNode.values())
      if (state.link && isDue(state)) void compare(state, state.link);
  };
  const isDue = ({ calmFromMs }: PeerState) =>
    calmFromMs === undefined || clock.monotonicMs() - calmFromMs >= calmMs;
  const rounds = every(
    clock,
    // Streams and documents compare in one turn where the clock has a grid: their frames share a write.
    () => clock.untilNext?.(periodMs) ?? periodMs * (1 - random.float() / 4),
    () => compareAll(isDue),
    (error) => log.error("a round of replication failed", { error }),
  );
  const unsubscribe = store.on("grown", ({ vector }) => {
    latest = vector;
    growths++;
    for (const state of peersByNode.values()) {
      state.calmFromMs = undefined;
      state.push?.grown(vector);
    }
  });

  return {
    register(router) {
      router.handle(`${methods}.push`, async ({ peer, body }) => {
        nodeOf(peer);
        return encodeJson(await store.apply(body));
      });
      router.handle(`${methods}.pull`, async ({ peer, body }) => {
        nodeOf(peer);
        const batch = await store.log(decodePull(body));
        return batch?.bytes ?? new Uint8Array();
      });
      const { snapshots } = store;
      if (snapshots)
        router.handle(`${methods}.snapshot`, async ({ peer, body }) => {
          nodeOf(peer);
          return (await snapshots.give(decodeSnapshotWish(body))) ?? new Uint8Array();
        });
      router.handle(`${methods}.vector`, async ({ peer, body }) => {
        const state = stateOf(nodeOf(peer));
        const told = decodeVector(body);
        const mine = await store.vector();
        const isOwn = (name: string) => name.startsWith(`${options.node}.`);
        const isMore = Object.entries(told).some(
          ([name, top]) => isOwn(name) && top > (mine[name] ?? 0),
        );
        // On a fresh link it tells this in the same moment in which it is asked for the last that it has.
        const isBelieved = !isMore && ownLog.hasMet(state.link);
        const heard = isBelieved ? { told, isMore } : await ownLog.overhear(state.link, told);
        if (heard.isMore && state.link) void compare(state, state.link);
        state.vector = { ...heard.told };
        tell(state, {});
        if (!isSame(mine, state.vector)) state.calmFromMs = undefined;
        return encodeJson(mine);
      });
    },
    attach(link) {
      const state = stateOf(nodeOf(link.peer));
      state.push?.stop();
      state.push = undefined;
      state.link = link;
      link.closed.addEventListener(
        "abort",
        () => {
          if (state.link !== link) return;
          state.push?.stop();
          state.push = undefined;
          state.link = undefined;
        },
        { once: true },
      );
      if (!link.closed.aborted) void compare(state, link);
    },
    hint: () => compareAll(),
    vectorsByNode: () =>
      new Map(
        [...peersByNode.values()]
          .filter(({ node }) => members?.has(node) ?? true)
          .map(({ node, vector }) => [node, ownLog.undisputed(vector)]),
      ),
    setNodes(nodes) {
      const before = members;
      members = new Set(nodes);
      for (const state of [...peersByNode.values()]) {
        const { node, link } = state;
        const isMember = members.has(node);
        if (!isMember && !link) peersByNode.delete(node);
        if (isMember === (before?.has(node) ?? true)) continue;
        // By now it may be another machine, or the same with an empty disk.
        state.vector = {};
        if (link) void compare(state, link);
      }
    },
    doubted: () => ownLog.doubted(),
    on: (event, listener) => signals.on(event, listener),
    stop() {
      stopped = true;
      rounds.cancel();
      unsubscribe();
      for (const { push } of peersByNode.values()) push?.stop();
    },
  };
}

/** Whether both hold the same of every log; of one that is not named, nothing. */
const isSame = (one: Vector, other: Vector) => covers(one, other) && covers(other, one);
