/**
 * Gives a store's documents away in pieces, and takes another store's. What comes is staged beside the
 * documents, where no reader sees it, until the last piece says at which positions it is: then all of
 * it is joined with what is here, in the transaction that raises the positions (M14). Operations that
 * are here and not there stay in the log, and in the documents. Every call runs inside a transaction
 * of its owner; `read` changes nothing.
 */
import { stable } from "../../lib/stable.ts";
import { covers } from "../replication/vectors.ts";
import type { Vector } from "../streams/store.ts";
import { invalidBatch } from "./codec.ts";
import { packState, unpackState } from "./encode-state.ts";
import type { Engine } from "./engine.ts";
import type { Dot } from "./operation.ts";
import type { SnapshotCursor, SnapshotPiece } from "./snapshot.ts";
import type { DocumentTables } from "./tables.ts";

export type SnapshotPlace = { readonly view: string; readonly cursor: SnapshotCursor };

export type SnapshotQuery = {
  /** Where a piece of this store ended; another store's is not gone on with. */
  readonly after?: SnapshotPlace | undefined;
  /** Only this one, and no keys. */
  readonly collection?: string;
  readonly bytesMax: number;
};

/** `force`: whatever the log has, documents are lacking there. */
export type SnapshotWish = { readonly vector: Vector; readonly force: boolean };

/** Whether a store at this vector needs more than the log here has. */
export const isSnapshotFor = (engine: Engine, { vector, force }: SnapshotWish): boolean =>
  !engine.isBehindLog && (force || !covers(vector, engine.floors()));

/** `adopted`: it was the last piece. `elsewhere`: it does not go on from `at`. */
export type SnapshotTaken = {
  readonly state: "staged" | "adopted" | "elsewhere";
  readonly at?: SnapshotPlace;
};

type Parts = { readonly engine: Engine; readonly tables: DocumentTables };

const rowsPerStep = 100;

export function readSnapshot(
  { engine, tables }: Parts,
  view: string,
  { after, collection, bytesMax }: SnapshotQuery,
): SnapshotPiece {
  const from = after?.view === view ? after.cursor : undefined;
  const origins = new Map<string, number>();
  const numberOf = (origin: string) => {
    const number = origins.get(origin) ?? origins.size;
    origins.set(origin, number);
    return number;
  };
  const changes = { ...from?.changes };
  const documents: { collection: string; id: string; state: ReturnType<typeof packState> }[] = [];
  const keys: string[] = [];
  let lastKey = from?.keys ?? 0;
  let bytes = 0;
  const piece = (end?: SnapshotPiece["end"]): SnapshotPiece => ({
    view,
    ...(from ? { after: from } : {}),
    next: { changes, keys: lastKey },
    origins: [...origins.keys()],
    documents,
    keys,
    ...(end ? { end } : {}),
  });
  for (const name of collection === undefined ? tables.collections() : [collection]) {
    for (let isMore = true; isMore;) {
      const since = changes[name] ?? 0;
      const rows = tables.changes({ collection: name, since, limit: rowsPerStep });
      isMore = rows.length === rowsPerStep;
      for (const row of rows) {
        const state = packState(engine.documents.read(row), undefined, { numberOf });
        documents.push({ collection: name, id: row.id, state });
        changes[name] = row.change;
        bytes += row.state.length + (row.body?.length ?? 0);
        if (bytes >= bytesMax) return piece();
      }
    }
  }
  for (let isMore = collection === undefined; isMore;) {
    const found = tables.keys(lastKey, rowsPerStep);
    for (const { at, key } of found) {
      keys.push(key);
      lastKey = at;
      bytes += key.length;
    }
    isMore = found.length === rowsPerStep;
    if (isMore && bytes >= bytesMax) return piece();
  }
  return piece(engine.positions());
}

export function snapshotAt(tables: DocumentTables): SnapshotPlace | undefined {
  const text = tables.stagedAt();
  return text === undefined ? undefined : (JSON.parse(text) as SnapshotPlace);
}

/** Throws `invalid-batch`. `hears`: of which fields it says anything; of all unless given. */
export function takeSnapshot(
  { engine, tables }: Parts,
  piece: SnapshotPiece,
  hears: (path: string) => boolean = () => true,
): SnapshotTaken {
  const { view, after, next, origins, documents, keys, end } = piece;
  const at = snapshotAt(tables);
  if (after === undefined) tables.clearStaged();
  else if (at?.view !== view || stable(at.cursor) !== stable(after))
    return { state: "elsewhere", ...(at ? { at } : {}) };
  const originOf = (number: number) => origins[number] ?? "";
  for (const { collection, id, state } of documents) {
    const unpacked = unpackState(state, undefined, { originOf });
    tables.stage(engine.documents.rowOf(unpacked, { collection, id }));
  }
  for (const key of keys) tables.stageKey(key);
  if (!end) {
    const place = { view, cursor: next };
    tables.setStagedAt(JSON.stringify(place));
    return { state: "staged", at: place };
  }
  const theirs = Object.fromEntries(end.map(({ name, applied }) => [name, applied]));
  const ours = engine.applied();
  const { name: own, stored } = engine.own;
  if ((theirs[own] ?? 0) > stored)
    throw invalidBatch("it knows more of this store's log than this store");
  for (const [origin, floor] of Object.entries(engine.floors())) {
    // Of what is lacking here it lacks something as well: another store's will do.
    if ((ours[origin] ?? 0) < floor && (theirs[origin] ?? 0) < floor) return { state: "elsewhere" };
  }
  const sides = { ours: coveredBy(ours), theirs: coveredBy(theirs, hears) };
  for (let rows = tables.staged(rowsPerStep); rows.length > 0; rows = tables.staged(rowsPerStep)) {
    for (const row of rows) {
      engine.documents.join(row, sides);
      tables.unstage(row);
    }
  }
  tables.adoptKeys();
  tables.setStagedAt(undefined);
  engine.adopt(end);
  return { state: "adopted" };
}

const coveredBy =
  (vector: Vector, hears?: (path: string) => boolean) =>
  ({ origin, sequence }: Dot, path?: string): boolean =>
    sequence <= (vector[origin] ?? 0) && (path === undefined || hears?.(path) !== false);
