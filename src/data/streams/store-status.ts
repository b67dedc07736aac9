/** What a store says of itself. */
import type { SkerryError } from "../../lib/errors.ts";
import type { Writer } from "../../runtime/sqlite/index.ts";
import type { Backlog } from "../tables/backlog.ts";
import type { Tables } from "../tables/tables.ts";
import type { Merge } from "./merge.ts";
import type { Scrub } from "./scrub.ts";
import type { StoreStatus, StreamDeclaration } from "./store.ts";

export function storeStatus(
  parts: { tables: Tables; backlog: Backlog; merge: Merge; scrub: Scrub; writer: Writer },
  { scope, declared }: { scope: string; declared: ReadonlyMap<string, StreamDeclaration> },
): StoreStatus {
  const { tables, backlog, merge, scrub, writer } = parts;
  const { names, segments, retention } = tables;
  const waiting = backlog.count();
  const rows = new Set([...declared.keys(), ...names.streams().map(({ name }) => name)]);
  const streams = [...rows].sort().map((name) => {
    const row = names.findStream(scope, name);
    const leaves = declared.get(name)?.egress !== undefined;
    return {
      name,
      entries: row?.entries ?? 0,
      sealed: row ? segments.sealed(row).entries : 0,
      bytes: row?.bytes ?? 0,
      backlog: (leaves && row && waiting.get(row.id)) || { entries: 0, bytes: 0 },
      droppedBeforeHub: row?.droppedBeforeHub ?? 0,
      droppedWhenFull: row?.droppedWhenFull ?? 0,
    };
  });
  const oldestId = backlog.oldestId((row) => declared.get(row.name)?.egress !== undefined);
  return {
    origin: merge.own.name,
    vector: merge.vector(),
    hubVector: Object.fromEntries(names.origins(scope).map((row) => [row.name, row.hubTop])),
    streams,
    backlog: {
      entries: streams.reduce((sum, row) => sum + row.backlog.entries, 0),
      bytes: streams.reduce((sum, row) => sum + row.backlog.bytes, 0),
      oldestAgeMs: oldestId === undefined ? undefined : retention.ageOfMs(oldestId),
    },
    damaged: segments.damaged().map(({ stream, held, message }) => ({
      stream,
      entries: held.entries,
      fromMs: held.fromMs,
      toMs: held.toMs,
      message,
    })),
    ...(writer.failure ? { failure: failureLine(writer.failure) } : {}),
    scrubbed: scrub.status(),
  };
}

const failureLine = ({ code, message, hint }: SkerryError) => ({
  code,
  message,
  ...(hint === undefined ? {} : { hint }),
});
