/**
 * A batch that the store refused, in two, to find those that it was refused for: in a number of
 * appends that grows with the logarithm of the batch. What one connection sent to the same streams
 * stays in its order within the batch, and only that has to be sent one after the other. What went to
 * the store with a later batch meanwhile may be stored before: to hold that back, a connection could
 * have one batch under way, and what it sends next would first wait until that one is at its level,
 * which may be at the hub.
 */
import type { EntryInput } from "../api/index.ts";

type Sent = { readonly entries: readonly EntryInput[]; readonly connection: unknown };

export type Halves<T> = {
  readonly halves: readonly [readonly T[], readonly T[]];
  /** The second is behind the first: of the same connection, to the same streams. */
  readonly areInOrder: boolean;
};

/** What depends on the streams and the level alone, and so is the answer to all who share them. */
const codesOfStreams: ReadonlySet<string> = new Set(["stream-unknown", "level-impossible"]);

/** Undefined: `code` is the answer to each of them. */
export function halvesOf<T extends Sent>(batch: readonly T[], code: string): Halves<T> | undefined {
  if (batch.length < 2) return undefined;
  const apart = halvesBy(batch, streamsOf);
  if (apart) return { halves: apart, areInOrder: false };
  if (codesOfStreams.has(code)) return undefined;
  const halves = halvesBy(batch, ({ connection }) => connection);
  if (halves) return { halves, areInOrder: false };
  const middle = batch.length >> 1;
  return { halves: [batch.slice(0, middle), batch.slice(middle)], areInOrder: true };
}

/** What has the same key stays together, in its order; undefined where all have the same. */
function halvesBy<T>(
  batch: readonly T[],
  keyOf: (one: T) => unknown,
): readonly [T[], T[]] | undefined {
  const keys = [...new Set(batch.map(keyOf))];
  if (keys.length < 2) return undefined;
  const firstKeys = new Set(keys.slice(0, keys.length >> 1));
  const { first = [], second = [] } = Object.groupBy(batch, (one) =>
    firstKeys.has(keyOf(one)) ? "first" : "second",
  );
  return [first, second];
}

const streamsOf = ({ entries }: Sent): string => entries.map(({ stream }) => stream).join("\n");
