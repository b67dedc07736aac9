/** What a peer shows of this store's own log, beside what stands there here. Pure. */
import { isDeepStrictEqual } from "node:util";
import { toLogBatch } from "../batch/codec.ts";
import type { Ask, Compared } from "./put-back.ts";
import type { ColumnBatch } from "./store.ts";

/** Of each the log from the position asked for on; an entry is enough. */
export function compareShown(
  { origin, from, other, isMeeting }: Ask,
  theirs: ColumnBatch,
  here: ColumnBatch | undefined,
): Compared {
  const [shown] = toLogBatch(theirs).entries;
  if (theirs.origin !== origin || !shown) return "nothing";
  // Beyond the log's end here, anything that they have is more.
  if (other === undefined && !isMeeting) return "other";
  const [mine] = here ? toLogBatch(here).entries : [];
  if (mine?.position.sequence !== from || shown.position.sequence !== from) return "nothing";
  // Of a key that two nodes accepted, a store has the body that came first.
  const [one, two] = [mine, shown].map(({ stream, key, atMs, body }) =>
    key ? { stream, key } : { stream, atMs, body: Buffer.from(body) },
  );
  return isDeepStrictEqual(one, two) ? "same" : "other";
}
