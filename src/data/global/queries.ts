/**
 * Queries over the hub's documents, across cells: the queries of nodes (`queries/run.ts`), walking the
 * copies of one collection cell by cell, each by id. On a read-only connection beside the writer's, in
 * SQLite or PostgreSQL, by the same statements.
 */
import type { Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { openSyncPostgres, type PostgresAddress } from "../../runtime/postgres/index.ts";
import type { SqlDatabase } from "../../runtime/sqlite/index.ts";
import { unknownCollection } from "../documents/check.ts";
import { createConnections, inSlices, type Connections } from "../queries/connections.ts";
import type { Query, QueryPage } from "../queries/query.ts";
import { foundText, subjectOfText, type FoundText } from "../queries/reads.ts";
import { runQuery } from "../queries/run.ts";
import type { QuerySource } from "../queries/source.ts";
import { compareText } from "../queries/values.ts";
import { createDialect } from "./postgres/dialect.ts";

export type GlobalDocumentsRequest = {
  readonly collection: string;
  /** Absent: all cells; of a collection that is written here, the hub's own. */
  readonly cell?: string;
  readonly query: Query;
};

/** Where the documents are: a file that exists, or a database that has the tables. */
export type GlobalQueryFiles = {
  readonly global: { readonly path: string } | { readonly address: PostgresAddress };
};

export interface GlobalQueryEngine {
  /** Throws `collection-unknown`, `invalid-cursor`, `query-too-dear`, `store-busy`. */
  documents(request: GlobalDocumentsRequest): Promise<QueryPage>;
  close(): Promise<void>;
}

export function openGlobalQueries(
  deps: { clock: Clock },
  { global }: GlobalQueryFiles,
): GlobalQueryEngine {
  const { clock } = deps;
  const { use, close } =
    "path" in global
      ? createConnections(deps, { path: global.path, reading: createGlobalReads })
      : onPostgres(deps, global.address);
  return {
    close: async () => await close(),
    documents: ({ collection, cell, query }) =>
      use((reads) => {
        const copies = reads.copies(collection, cell);
        if (!copies) throw new SkerryError(unknownCollection(collection, reads.names()));
        const endMs = clock.monotonicMs() + query.timeoutMs;
        return runQuery(walkOf(reads, copies), {
          collection: cell === undefined ? collection : `${collection} ${cell}`,
          documents: copies.reduce((sum, { documents }) => sum + documents, 0),
          query,
          isOver: () => clock.monotonicMs() >= endMs,
        });
      }),
  };
}

/** Of one cell, as the tables know it; `cell` is empty for the hub's own. */
type Copy = { readonly cell: string; readonly number: number; readonly documents: number };
type GlobalReads = ReturnType<typeof createGlobalReads>;

const pieceRows = 256;

function createGlobalReads(db: SqlDatabase) {
  const isPublished = db.prepare("SELECT name FROM published WHERE name = ?");
  const published = db.prepare(
    `SELECT f.cell AS cell, c.id AS number, c.documents AS documents
     FROM published_feed f JOIN collection c ON c.name = 'p' || f.id
     WHERE f.collection = ? AND f.cell = ?`,
  );
  const sent = db.prepare(
    `SELECT f.cell AS cell, c.id AS number, c.documents AS documents
     FROM feed f LEFT JOIN collection c ON c.name = CAST(f.id AS TEXT)
     WHERE f.state = 'live' AND f.collection = ? ORDER BY f.cell`,
  );
  const names = db.prepare(
    "SELECT collection FROM feed WHERE state = 'live' UNION SELECT name FROM published",
  );
  const walk = db.prepare(
    `SELECT id, body FROM document WHERE collection = ? AND id >= ? AND body IS NOT NULL
     ORDER BY id LIMIT ${pieceRows}`,
  );
  const one = db.prepare("SELECT body FROM document WHERE collection = ? AND id = ?");
  const copyOf = (row: Record<string, unknown>): Copy => ({
    cell: String(row["cell"]),
    // No collection yet: none of its documents is here.
    number: Number(row["number"] ?? -1),
    documents: Number(row["documents"] ?? 0),
  });
  return {
    names: () => names.all().map((row) => String(row["collection"])),
    /** Undefined: there is no such collection. */
    copies(collection: string, cell: string | undefined): readonly Copy[] | undefined {
      if (isPublished.get(collection)) return published.all(collection, cell ?? "").map(copyOf);
      const copies = sent.all(collection).map(copyOf);
      if (copies.length === 0) return undefined;
      return cell === undefined ? copies : copies.filter((copy) => copy.cell === cell);
    },
    /** Those at and behind `from`, by id. */
    *ids(number: number, from: string): Generator<{ id: string; body: string }> {
      for (let next = from, skips = false; ;) {
        const rows = walk.all(number, next);
        for (const row of rows) {
          const [id, body] = [String(row["id"]), String(row["body"])];
          if (!(skips && id === next)) yield { id, body };
        }
        if (rows.length < pieceRows) return;
        next = String(rows.at(-1)?.["id"]);
        skips = true;
      }
    },
    body(number: number, id: string): string | undefined {
      const body = one.get(number, id)?.["body"];
      return typeof body === "string" ? body : undefined;
    },
  };
}

/** A place among the documents of all cells; a cell's name has no such character. */
const separator = "\0";
const placeOf = (cell: string, id: string) => `${cell}${separator}${id}`;

type GlobalFound = FoundText & { readonly cell: string };

function walkOf(reads: GlobalReads, copies: readonly Copy[]): QuerySource<GlobalFound> {
  const foundIn = ({ cell }: Copy, { id, body }: { id: string; body: string }): GlobalFound => ({
    ...foundText(id, body),
    cell,
  });
  return {
    isById: false,
    indexes: () => [],
    count: () => 0,
    keys: () => [],
    explain: () => [],
    subjectOf({ cell, ...found }) {
      const subject = subjectOfText(found);
      // A field to ask by that is in no answer.
      Object.defineProperty(subject.body, "@cell", { value: cell });
      const beside = cell === "" ? {} : { beside: { cell } };
      return { ...subject, ...beside, place: placeOf(cell, found.id) };
    },
    found(place) {
      const at = place.indexOf(separator);
      const copy = copies.find(({ cell }) => cell === place.slice(0, at));
      const id = place.slice(at + 1);
      const body = copy && reads.body(copy.number, id);
      return copy && body !== undefined ? foundIn(copy, { id, body }) : undefined;
    },
    *ids({ low = "", high, after }) {
      const at = after?.indexOf(separator) ?? -1;
      const afterCell = after?.slice(0, Math.max(0, at)) ?? "";
      for (const copy of copies) {
        if (after !== undefined && compareText(copy.cell, afterCell) < 0) continue;
        const afterId = after !== undefined && copy.cell === afterCell ? after.slice(at + 1) : "";
        const from = compareText(afterId, low) > 0 ? afterId : low;
        for (const found of reads.ids(copy.number, from)) {
          if (high !== undefined && compareText(found.id, high) > 0) break;
          if (found.id !== afterId) yield foundIn(copy, found);
        }
      }
    },
  };
}

/** One after the other, each in a snapshot, on a connection that holds up nobody else. */
function onPostgres(
  { clock }: { clock: Clock },
  address: PostgresAddress,
): Pick<Connections<GlobalReads>, "use"> & { close(): Promise<void> } {
  const postgres = openSyncPostgres(address, {
    application: "skerry-hub-queries",
    setup: "SET search_path = skerry_documents",
  });
  const sql = createDialect(postgres);
  const reads = createGlobalReads(sql);
  const waitingMax = 64;
  let waiting = 0;
  let last: Promise<unknown> = Promise.resolve();
  return {
    close: () => postgres.close(),
    async use(work) {
      if (waiting >= waitingMax)
        throw new SkerryError({
          code: "store-busy",
          message: `${waiting} queries wait at this hub`,
          hint: "ask again in a moment",
          retryable: true,
        });
      waiting++;
      const run = async () => {
        try {
          sql.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
          const result = await inSlices(clock, work(reads));
          sql.commit();
          return result;
        } catch (error) {
          sql.rollback();
          throw error;
        } finally {
          waiting--;
        }
      };
      const result = last.then(run);
      last = result.catch(() => undefined);
      return await result;
    },
  };
}
