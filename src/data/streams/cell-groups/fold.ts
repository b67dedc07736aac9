/**
 * A group's record grows by an origin with each incarnation of a store that wrote to the stream. One
 * whose entries retention has removed here has nothing left to tell: it leaves the record when that has
 * grown large. It may leave without harm at any time, since what a vector does not name is delivered
 * (C7): should such entries stand at another node all the same, which took them in later than this one,
 * they come again there if the group moves; nothing is passed over that nobody acknowledged.
 */
import { SkerryError } from "../../../lib/errors.ts";
import type { Vector } from "../answers.ts";
import type { GroupId } from "../groups/groups.ts";
import type { StreamStore } from "../store.ts";
import { encodeRecord, type GroupRecord } from "./record.ts";

/** Some 400 origins: what is there below this many starts of nodes is never left out. */
export const foldBytesDefault = 16 * 1024;
/** With what goes around it, below the largest value that the ledger takes (64 KiB). */
const recordBytesMax = 63 * 1024;

/** The record without origins that this store has no entry of; `node` is this one. */
export async function folded(
  store: Pick<StreamStore, "beyond">,
  { stream }: GroupId,
  record: GroupRecord,
  { node, bytes }: { node: string; bytes: number },
): Promise<GroupRecord> {
  if (bytesOf(record) <= bytes) return record;
  const { vector } = record;
  const { origins } = await store.beyond({ stream, vector });
  const here = new Set(origins);
  const superseded = olderOnes(vector);
  const gone = Object.keys(vector)
    .filter((origin) => !here.has(origin))
    .toSorted((a, b) => Number(superseded.has(b)) - Number(superseded.has(a)) || byAge(a, b));
  // So far that it is not needed again with the next crash.
  const wanted = bytes * 0.75;
  let left = bytesOf(record);
  const leaves = new Set<string>();
  for (const origin of gone) {
    if (left <= wanted) break;
    leaves.add(origin);
    left -= Buffer.byteLength(`${JSON.stringify(origin)}:${vector[origin]},`);
  }
  const rest = Object.entries(vector).filter(([origin]) => !leaves.has(origin));
  // A place only saves its node a look through its store.
  const own = record.places[node];
  const places = left > wanted ? (own === undefined ? {} : { [node]: own }) : record.places;
  return { ...record, vector: Object.fromEntries(rest), places };
}

/** Throws `position-too-large` for what the ledger would refuse. */
export function requireRoom({ group }: GroupId, record: GroupRecord): void {
  const bytes = bytesOf(record);
  if (bytes <= recordBytesMax) return;
  const logs = Object.keys(record.vector).length;
  throw new SkerryError({
    code: "position-too-large",
    message: `group: the position of ${group} names ${logs} logs in ${bytes} bytes, and ${recordBytesMax} is the most`,
    hint: "a log leaves it once the stream keeps no entry of it: give the stream a retention that ends (maxAge, maxBytes)",
  });
}

export const bytesOf = (record: GroupRecord): number => Buffer.byteLength(encodeRecord(record));

const nodeOf = (origin: string): string => origin.slice(0, origin.lastIndexOf("."));
/** An incarnation begins with the time at which its store was opened. */
const incarnationOf = (origin: string): string => origin.slice(origin.lastIndexOf(".") + 1);
const byAge = (a: string, b: string): number => (incarnationOf(a) < incarnationOf(b) ? -1 : 1);

/** Those whose node has a younger one here: their logs have ended. */
function olderOnes(vector: Vector): ReadonlySet<string> {
  const all = Map.groupBy(Object.keys(vector), nodeOf);
  return new Set([...all.values()].flatMap((origins) => origins.toSorted(byAge).slice(0, -1)));
}
