/**
 * Which groups of the cell this node holds, or waits for: their claims hang on one session, and are
 * given back when nobody here asks for their group any more.
 */
import type { Clock, Timer } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import type { GroupLedger } from "../../ports.ts";
import type { Vector } from "../answers.ts";
import type { GroupId } from "../groups/groups.ts";
import { beginAt, type Holding, type UnderWay } from "./holding.ts";
import { claimName, decodeRecord, recordKey, type GroupRecord } from "./record.ts";
import { createNodeSession } from "./session.ts";

export type Found = { readonly record: GroupRecord; readonly revision: number };
export type Known = {
  readonly id: GroupId;
  askedMs: number;
  /** What is asked of a group is done one after the other. */
  turn: Promise<unknown>;
  holding: Holding | undefined;
  claiming: Promise<void> | undefined;
  failure: unknown;
};

export interface Holders {
  /** Of the ledger, linearizable. Throws `group-unknown`. */
  find(id: GroupId): Promise<Found>;
  knownOf(id: GroupId): Known;
  inTurn<T>(known: Known, work: () => Promise<T>): Promise<T>;
  /** What it has under way, if this node holds it. */
  underWay(id: GroupId): UnderWay | undefined;
  /** Undefined as soon as another node might be given it. */
  holdingOf(known: Known): Holding | undefined;
  /** True when this node holds it. */
  claim(known: Known, waitMs: number): Promise<boolean>;
  /** Goes on trying while somebody here asks for it. */
  claimLater(known: Known): void;
  giveBack(known: Known): Promise<void>;
  held(): readonly { readonly id: GroupId; readonly vector: Vector }[];
  stop(): Promise<void>;
}

/** Until another node may take over from one that is cut off. */
const ttlMsDefault = 10_000;
/** A node whose members ask no more gives the group back. */
const idleMs = 15_000;
const claimWaitMs = 15_000;

export function createHolders(
  deps: {
    ledger: GroupLedger;
    clock: Clock;
    log: Log;
    counters?: { takenOver(id: GroupId): void };
  },
  { ttlMs = ttlMsDefault }: { ttlMs?: number },
): Holders {
  const { ledger, clock, log } = deps;
  const session = createNodeSession(deps, { ttlMs });
  const knownByKey = new Map<string, Known>();
  const stopping = new AbortController();
  let tidying: Timer | undefined;

  const knownOf = (id: GroupId): Known => {
    const key = recordKey(id);
    const known = knownByKey.get(key) ?? {
      id,
      askedMs: clock.monotonicMs(),
      turn: Promise.resolve(),
      holding: undefined,
      claiming: undefined,
      failure: undefined,
    };
    knownByKey.set(key, known);
    tidying ??= clock.after(idleMs, () => void tidy());
    return known;
  };
  const inTurn = <T>(known: Known, work: () => Promise<T>): Promise<T> => {
    const done = known.turn.then(work);
    known.turn = done.catch(() => undefined);
    return done;
  };
  const find = async (id: GroupId): Promise<Found> => {
    const found = await ledger.read(recordKey(id));
    if (found) return { record: decodeRecord(found.text), revision: found.revision };
    throw new SkerryError({
      code: "group-unknown",
      message: `group: stream ${id.stream} has no consumer group "${id.group.slice(0, 100)}" of the cell`,
      hint: "create it first: PUT /v1/streams/STREAM/cell-groups/GROUP",
    });
  };

  /** True when this node holds the group. */
  const claim = async (known: Known, waitMs: number): Promise<boolean> => {
    const { id } = known;
    const mine = await session.acquire();
    const claimed = await ledger.claim(claimName(id), {
      session: mine,
      waitMs,
      signal: stopping.signal,
    });
    if (claimed === "session-over") session.forget(mine);
    if (claimed === undefined || claimed === "session-over") return false;
    const found = await find(id);
    known.holding = {
      session: mine,
      token: claimed.token,
      ...found,
      place: undefined,
      isThrough: false,
      count: 0,
      acknowledged: 0,
      underWay: undefined,
      checkedMs: clock.monotonicMs(),
      foldAgainMs: -Infinity,
    };
    deps.counters?.takenOver(id);
    beginAt(known.holding, found, ledger.node);
    return true;
  };
  const isWanted = ({ askedMs }: Known) =>
    !stopping.signal.aborted && clock.monotonicMs() - askedMs < idleMs;
  const claimPatiently = async (known: Known) => {
    try {
      let isHeld = false;
      while (!isHeld && isWanted(known)) isHeld = await claim(known, claimWaitMs);
    } catch (error) {
      known.failure = error;
    } finally {
      known.claiming = undefined;
    }
  };
  const holdingOf = (known: Known): Holding | undefined => {
    if (known.holding && !session.holds(known.holding.session)) known.holding = undefined;
    return known.holding;
  };
  const giveBack = async (known: Known) => {
    const { holding, id } = known;
    known.holding = undefined;
    if (holding) await ledger.release(claimName(id), holding.token);
  };
  /** Gives back what nobody here asks for any more, and ends the session with the last of it. */
  const tidy = async () => {
    tidying = undefined;
    const nowMs = clock.monotonicMs();
    try {
      for (const [key, known] of knownByKey) {
        if (isWanted(known) || known.claiming) continue;
        if ((known.holding?.underWay?.untilMs ?? 0) > nowMs) continue;
        knownByKey.delete(key);
        await inTurn(known, () => giveBack(known));
      }
      if (knownByKey.size === 0) await session.end();
    } catch (error) {
      // What hangs on the session is free when that runs out.
      log.debug("a consumer group was not given back", { error });
    }
    if (knownByKey.size > 0) tidying ??= clock.after(idleMs, () => void tidy());
  };

  return {
    find,
    knownOf,
    inTurn,
    underWay: (id) => knownByKey.get(recordKey(id))?.holding?.underWay,
    holdingOf,
    claim,
    claimLater(known) {
      known.claiming = claimPatiently(known);
    },
    giveBack,
    held: () =>
      [...knownByKey.values()].flatMap((known) => {
        const holding = holdingOf(known);
        return holding ? [{ id: known.id, vector: holding.record.vector }] : [];
      }),
    async stop() {
      stopping.abort();
      try {
        await session.end();
      } catch (error) {
        log.debug("the session of consumer groups runs out by itself", { error });
      }
      tidying?.cancel();
    },
  };
}
