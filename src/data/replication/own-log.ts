/**
 * What a peer tells of this store's own log counts as far as the store has it. A peer that tells of more is
 * asked to show it: by its log, or, where that is forgotten, by its documents. It does, and the machine was
 * put back (D7): the store goes on under a new origin. It does not, and what it tells of this log is worth
 * nothing: no write is covered by it, and no log is forgotten for it. A peer that is met anew and tells of
 * no more is asked for the last that it has, before anything is sent to it: that may be of another past.
 */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Link } from "../../transport/index.ts";
import { encodeJson } from "./messages.ts";
import type { Observed, Proof, ReplicatedStore, Vector } from "./replicated.ts";
import { withoutLogs } from "./vectors.ts";

export interface OwnLog {
  /** Before anything that a peer tells counts. `told`: what does; `isDoubted`: not all of it. */
  hear(
    link: Link,
    node: string,
    told: Vector,
  ): Promise<{ origin: string; told: Vector; isDoubted: boolean }>;
  /** The same where it cannot be asked: before it was met, nothing of this log counts. `isMore`: it is to be asked. */
  overhear(link: Link | undefined, told: Vector): Promise<{ told: Vector; isMore: boolean }>;
  /** This store's log was found to be the same there. */
  hasMet(link: Link | undefined): boolean;
  /** Without logs that were given up since others had more of them: nobody can say which entries they have. */
  undisputed(vector: Vector): Vector;
  /** Who told of more than it could show when it was last asked. */
  doubted(): readonly string[];
}

/** Until the same node is asked again, and told of in the log. */
const doubtMs = 60_000;

export function createOwnLog(
  deps: { store: ReplicatedStore; clock: Clock; log: Log },
  options: { methods: string; timeoutMs: number },
): OwnLog {
  const { store, clock, log } = deps;
  const { methods, timeoutMs } = options;
  let disputed: readonly string[] = [];
  /** Links over which this store's log was found to be the same there. */
  const met = new WeakSet<Link>();
  const doubtedUntilMs = new Map<string, number>();

  const prove = async (link: Link, ask: NonNullable<Observed["ask"]>): Promise<Proof> => {
    const { origin, from, other, isMeeting } = ask;
    const question = encodeJson({ origin, from, bytesMax: 1 });
    const piece = await link
      .request(`${methods}.pull`, question, { timeoutMs })
      .catch(nothingIfDamaged);
    const isFirst = other === undefined && !isMeeting;
    if (piece.length > 0 || !isFirst || !store.snapshots)
      return { state: "shown", ask, piece: new Uint8Array(piece) };
    const wish = encodeJson({ vector: await store.vector(), force: false });
    const documents = await link.request(`${methods}.snapshot`, wish, { timeoutMs });
    return documents.length > 0 ? { state: "forgotten" } : { state: "shown", ask, piece };
  };
  const observe = async (told: Vector, proof?: Proof): Promise<Observed> => {
    const found = await store.observe(told, proof);
    disputed = found.disputed ?? disputed;
    return found;
  };
  const settle = async (link: Link, told: Vector, first: Observed): Promise<Observed> => {
    let found = first;
    while (found.ask) found = await observe(told, await prove(link, found.ask));
    return found;
  };
  const doubting = (origin: string, told: Vector) => ({
    origin,
    told: withoutLogs(told, (name) => name === origin),
    isDoubted: true,
  });
  const isDoubted = (node: string) => (doubtedUntilMs.get(node) ?? 0) > clock.monotonicMs();

  const hasMet = (link: Link | undefined) => link !== undefined && met.has(link);

  return {
    async hear(link, node, told) {
      const first = await observe(told, hasMet(link) ? undefined : { state: "met" });
      const isMore = first.ask !== undefined && first.ask.isMeeting !== true;
      if (isMore && isDoubted(node)) return doubting(first.origin, told);
      const { origin, rotated } = await settle(link, told, first);
      met.add(link);
      if (rotated) log.warn("replication goes on under a new origin", { origin });
      if (!isMore || origin !== first.origin) {
        doubtedUntilMs.delete(node);
        return { origin, told, isDoubted: false };
      }
      doubtedUntilMs.set(node, clock.monotonicMs() + doubtMs);
      const theirTop = told[origin];
      log.warn("a peer tells of more of this store's log than it can show; it counts for nothing", {
        peer: node,
        origin,
        theirTop,
      });
      return doubting(origin, told);
    },
    async overhear(link, told) {
      const { origin, ask } = await observe(told);
      if (!ask && hasMet(link)) return { told, isMore: false };
      return {
        told: withoutLogs(told, (name) => name === origin),
        isMore: ask !== undefined,
      };
    },
    hasMet,
    undisputed: (vector) =>
      disputed.length === 0 ? vector : withoutLogs(vector, (name) => disputed.includes(name)),
    // Who is linked is asked again when that is over; of others nobody knows.
    doubted: () =>
      [...doubtedUntilMs].flatMap(([node, untilMs]) =>
        untilMs + doubtMs > clock.monotonicMs() ? [node] : [],
      ),
  };
}

/** What cannot be read there just now shows nothing, and is no reason to send nothing. */
function nothingIfDamaged(error: unknown): Uint8Array {
  if (error instanceof SkerryError && error.code === "segment-damaged") return new Uint8Array();
  throw error;
}
