/** What a store has of a stream beyond given positions, and whose logs it still has anything of. */
import type { Database } from "../../runtime/sqlite/index.ts";
import type { StreamRow } from "../tables/names.ts";
import type { Tables } from "../tables/tables.ts";
import type { Beyond, Vector } from "./store.ts";

export function createBeyond(
  db: Database,
  { names, segments }: Pick<Tables, "names" | "segments">,
  scope: string,
): (stream: StreamRow, vector: Vector) => Beyond {
  const rowsBehind = db.prepare(
    "SELECT count(*) AS entries FROM entry WHERE origin = ? AND sequence > ? AND stream = ?",
  );
  const anyRow = db.prepare("SELECT 1 AS found FROM entry WHERE origin = ? AND stream = ? LIMIT 1");

  return (stream, vector) => {
    let entries = 0;
    const origins: string[] = [];
    for (const origin of names.origins(scope)) {
      const from = vector[origin.name] ?? 0;
      const isHere =
        anyRow.get(origin.id, stream.id) !== undefined ||
        !segments.pieces(origin, [stream], 0, origin.top).next().done;
      if (!isHere) continue;
      origins.push(origin.name);
      entries += Number(rowsBehind.get(origin.id, from, stream.id)?.["entries"] ?? 0);
      for (const piece of segments.pieces(origin, [stream], from, origin.top))
        entries += segments.countIn(piece, from, origin.top).entries;
    }
    return { entries, origins };
  };
}
