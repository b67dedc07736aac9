/**
 * What a node that holds a group delivers: one batch at a time, in the order of its store, of what the
 * group's vector does not cover. Everything before the place is covered, so the greatest positions of
 * what was acknowledged say all of it, on every node (C7 in the README of data).
 */
import { SkerryError } from "../../../lib/errors.ts";
import type { ReadEntry, Vector } from "../answers.ts";
import type { Delivery } from "../groups/groups.ts";
import type { StreamStore } from "../store.ts";
import { isCovered, joined, type GroupRecord } from "./record.ts";

export type UnderWay = {
  readonly number: number;
  readonly entries: readonly ReadEntry[];
  readonly vector: Vector;
  /** Of this store, behind these entries. */
  readonly place: string;
  attempt: number;
  member: string | undefined;
  untilMs: number;
};

export type Holding = {
  readonly session: string;
  /** The fencing token. */
  readonly token: number;
  /** Of the record in the ledger. */
  revision: number;
  record: GroupRecord;
  /** Undefined: the beginning of the store. */
  place: string | undefined;
  /** Whether the place was reached behind which something is not covered. */
  isThrough: boolean;
  /** Deliveries so far. */
  count: number;
  /** Of them, the last that was acknowledged. */
  acknowledged: number;
  underWay: UnderWay | undefined;
  checkedMs: number;
  /** Not before this is it looked at what may leave the record. */
  foldAgainMs: number;
};

/** Looked through at a time for where to begin. */
const scanEntries = 1000;
const scanPagesMax = 100;

/** From what another node, or this one, left in the ledger. */
export function beginAt(
  holding: Holding,
  found: { record: GroupRecord; revision: number },
  node: string,
): void {
  holding.record = found.record;
  holding.revision = found.revision;
  holding.place = found.record.places[node];
  holding.isThrough = false;
  holding.underWay = undefined;
}

export function deliver(
  { token }: Holding,
  underWay: UnderWay,
  how: { ackMs: number; nowMs: number; member: string | undefined },
): Delivery {
  underWay.attempt++;
  underWay.member = how.member;
  underWay.untilMs = how.nowMs + how.ackMs;
  const { number, attempt, entries } = underWay;
  return { delivery: `${token}.${number}.${attempt}`, attempt, ackMs: how.ackMs, entries };
}

/** The next entries that are not covered; undefined when there are none now. */
export async function readNext(
  store: Pick<StreamStore, "read">,
  stream: string,
  holding: Holding,
  limit: number,
): Promise<UnderWay | undefined> {
  for (let pages = 0; pages < scanPagesMax; pages++) {
    const page = await pageOf(store, stream, holding, limit);
    const open = page.entries.filter((entry) => !isCovered(holding.record.vector, entry));
    const entries = open.slice(0, limit);
    if (entries.length > 0) {
      holding.isThrough = true;
      return {
        number: ++holding.count,
        entries,
        vector: joined(holding.record.vector, entries),
        place: (entries.length < open.length && entries.at(-1)?.cursor) || page.cursor,
        attempt: 0,
        member: undefined,
        untilMs: 0,
      };
    }
    holding.place = page.cursor;
    if (!page.more) return undefined;
  }
  return undefined;
}

async function pageOf(
  store: Pick<StreamStore, "read">,
  stream: string,
  holding: Holding,
  limit: number,
): ReturnType<StreamStore["read"]> {
  const size = holding.isThrough ? limit : Math.max(limit, scanEntries);
  const { place } = holding;
  try {
    return await store.read({
      stream,
      limit: size,
      ...(place === undefined ? {} : { after: place }),
    });
  } catch (error) {
    // The store was made anew since: its cursors are others, and it is looked through from the beginning.
    const isOther = error instanceof SkerryError && error.code === "invalid-cursor";
    if (place === undefined || !isOther) throw error;
    holding.place = undefined;
    return await store.read({ stream, limit: size });
  }
}
