/** What the hub has of a damaged segment, asked by the node that let it out: both ends of the link. */
import { encodeBatch } from "../batch/codec.ts";
import type { GlobalStore } from "../global/store.ts";
import { originOfLog } from "../tables/lanes.ts";
import { copiedMax, type CopyQuery } from "../streams/repairs.ts";
import type { StoredEntry } from "../../api/index.ts";

/** Looked through for one segment: its times may be shared by many entries. */
const scannedMax = 200_000;

/** Of this cell only, found by time, for a hub keeps no index of positions. */
export async function copyFromGlobal(
  store: Pick<GlobalStore, "read">,
  cell: string,
  { origin, from, to, stream, fromMs, toMs }: CopyQuery,
): Promise<Uint8Array> {
  const { entriesMax, bytesMax } = copiedMax;
  const found = new Map<number, StoredEntry>();
  let bytes = 0;
  let after: string | undefined;
  for (let [more, scanned] = [true, 0]; more && scanned < scannedMax;) {
    const page = await store.read({
      cell,
      stream,
      fromMs,
      toMs: toMs + 1,
      ...(after === undefined ? {} : { after }),
    });
    for (const { cell: _cell, cursor: _cursor, ...entry } of page.entries) {
      const { position } = entry;
      const isWanted =
        originOfLog(position.origin) === origin &&
        position.sequence >= from &&
        position.sequence <= to;
      if (!isWanted || found.size >= entriesMax || bytes >= bytesMax) continue;
      found.set(position.sequence, { ...entry, position: { ...position, origin } });
      bytes += entry.body.length;
    }
    scanned += page.entries.length;
    after = page.cursor;
    ({ more } = page);
  }
  const entries = [...found.values()].sort((a, b) => a.position.sequence - b.position.sequence);
  return encodeBatch({ origin, from, to, entries });
}
