/** Takes a piece of a log into the merged view of one scope, contiguously, rows and vector together. */
import type { StoredEntry } from "../../api/index.ts";
import type { ApplyAnswer, LogBatch } from "../streams/store.ts";
import type { EntryTable } from "./entry-table.ts";
import { originOfLog, parseLane } from "./lanes.ts";
import type { Names, OriginRow, StreamRow } from "./names.ts";
import type { Retention } from "./retention.ts";

export function applyBatch(
  tables: { names: Names; entries: EntryTable; retention: Retention },
  scope: string,
  batch: LogBatch,
  onStored: (stream: StreamRow, origin: OriginRow, sequence: number, bodyBytes: number) => void,
  /** Ids that were reserved for these entries. */
  ids?: ReadonlyMap<StoredEntry, number>,
): ApplyAnswer {
  const { names, entries, retention } = tables;
  const top = names.findOrigin(scope, batch.origin)?.top ?? 0;
  if (batch.from > top + 1) return { state: "gap", origin: batch.origin, top, stored: 0 };
  const origin = names.origin(scope, batch.origin);
  // A lane has positions of its origin's log: what came by both is one entry.
  const at = parseLane(batch.origin) ? names.origin(scope, originOfLog(batch.origin)) : origin;
  let stored = 0;
  retention.noteArrival();
  for (const entry of batch.entries) {
    const { sequence } = entry.position;
    if (sequence <= top) continue;
    const stream = names.stream(scope, entry.stream);
    const outcome = entries.insert(at, sequence, stream, entry, {
      refuseRemoved: false,
      id: ids?.get(entry),
    });
    if (outcome.state !== "stored") {
      entries.alias(at, sequence, stream, entry);
      continue;
    }
    stored++;
    onStored(stream, at, sequence, entry.body.length);
  }
  if (batch.to > top) {
    origin.top = batch.to;
    names.writeTop(origin);
  }
  names.writeCounters();
  return { state: "applied", origin: batch.origin, top: origin.top, stored };
}
