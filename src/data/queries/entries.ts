/**
 * Queries over the entries of a stream, rows and sealed segments alike: those of a time range that
 * meet a condition, or what is measured of them in windows of time. A generator in a snapshot, as
 * `run.ts`. Entries come in the order of their arrival; windows go by the time that they are of.
 */
import type { StoredEntry } from "../../api/index.ts";
import type { Path } from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { JsonObject } from "../documents/json.ts";
import { parseCursor } from "../streams/cursor.ts";
import { createEntryReads, type PageQuery, type RowPage } from "../tables/entry-reads.ts";
import { createNames, type Names, type StreamRow } from "../tables/names.ts";
import { createSegments } from "../tables/segments.ts";
import { entryHead } from "../routes/lines.ts";
import { createGroups } from "./aggregate.ts";
import { compile, nameCell, type Subject } from "./evaluate.ts";
import type { Aggregate, Condition, Named, QueryPage } from "./query.ts";
import { projected } from "./run.ts";

export type EntriesQuery = {
  readonly where?: Condition;
  /** Inclusive; the end is not. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly shape:
    | { readonly rows: "entries"; readonly fields?: readonly Path[] }
    | {
        readonly rows: "groups";
        /** Absent: the whole range is one. */
        readonly windowMs?: number;
        readonly by: readonly Named[];
        readonly aggregates: readonly Aggregate[];
      };
  readonly limit: number;
  readonly cursor?: string;
  readonly timeoutMs: number;
};

/** A stream, or at a hub those of its name in several cells, as they are in the snapshot. */
export type OpenStream = {
  readonly view: string;
  page(query: StreamPageQuery): StreamPage;
};
export type StreamPageQuery = Omit<PageQuery, "streams">;
export type StreamPage = Omit<RowPage, "rows"> & { readonly rows: readonly StreamEntry[] };
/** `cell`: at a hub. */
export type StreamEntry = StoredEntry & { readonly id: number; readonly cell?: string };

/** Declared, and without an entry yet. */
export const noEntries: OpenStream = {
  view: "",
  page: () => ({ rows: [], lastId: 0, more: false }),
};

export interface EntryReading {
  /** Undefined: it has no entry yet. */
  open(stream: string): OpenStream | undefined;
}

/** At a hub. */
export interface GlobalEntryReading {
  /** Of this cell, or of all. `known`: there is none of this name, and there are these. */
  open(
    stream: string,
    cell: string | undefined,
  ): OpenStream | { readonly known: readonly string[] };
}

const pageRows = 500;
const pageBytesMax = 4 * 1024 * 1024;

export const createEntryReading = (db: Database): EntryReading => ({
  open(stream) {
    // Read anew in every snapshot: the writer seals, removes and interns meanwhile.
    const names = createNames(db);
    const row = names.findStream("", stream);
    return row && openStreams(db, names, [row]);
  },
});

/** Throws nothing; reading throws `segment-damaged`. */
export function openStreams(
  db: Database,
  names: Names,
  streams: readonly StreamRow[],
): { view: string; page(query: StreamPageQuery): RowPage } {
  const segments = createSegments(db, names);
  const lastRow = db.prepare("SELECT max(id) AS id FROM entry").get();
  const last = Math.max(Number(lastRow?.["id"] ?? 0), segments.lastId);
  const reads = createEntryReads(db, { names, segments }, () => last + 1);
  const view = db.prepare("SELECT value FROM meta WHERE name = 'view'").get();
  return {
    view: String(view?.["value"]),
    page: (query) => reads.page({ streams, ...query }),
  };
}

type Asked = {
  readonly stream: string;
  readonly query: EntriesQuery;
  readonly isOver: () => boolean;
};
type Entry = Subject & { readonly atMs: number; readonly row: StreamEntry };

/** Throws `invalid-cursor`, `query-too-dear`, `segment-damaged`. */
export function* runEntries(open: OpenStream, asked: Asked): Generator<void, QueryPage> {
  return asked.query.shape.rows === "groups"
    ? yield* groupsOf(open, asked, asked.query.shape)
    : yield* entriesOf(open, asked, asked.query.shape.fields);
}

function* entriesOf(
  open: OpenStream,
  { query, isOver }: Asked,
  fields: readonly Path[] | undefined,
): Generator<void, QueryPage> {
  const rows: string[] = [];
  const holds = compile(query.where);
  let bytes = 0;
  let afterId = parseCursor(query.cursor, open.view);
  const answer = () => ({ rows, cursor: `${open.view}.${afterId}` });
  for (let more = true; more;) {
    const page = open.page({ ...timeOf(query), afterId, limit: pageRows });
    for (const entry of page.rows.map(entryOf(open.view))) {
      if (holds(entry)) {
        if (rows.length >= query.limit || bytes >= pageBytesMax) return answer();
        const text = rowOf(entry, fields);
        rows.push(text);
        bytes += text.length;
      }
      afterId = entry.row.id;
    }
    afterId = page.lastId;
    ({ more } = page);
    yield;
    if (more && isOver()) return answer();
  }
  return { rows };
}

function* groupsOf(
  open: OpenStream,
  { stream, query, isOver }: Asked,
  shape: EntriesQuery["shape"] & { rows: "groups" },
): Generator<void, QueryPage> {
  const { windowMs, by, aggregates } = shape;
  const groups = createGroups(by, aggregates, windowMs === undefined ? {} : { windowMs });
  const holds = compile(query.where);
  let looked = 0;
  for (let afterId = 0, more = true; more;) {
    const page = open.page({ ...timeOf(query), afterId, limit: pageRows });
    for (const entry of page.rows.map(entryOf(open.view))) if (holds(entry)) groups.add(entry);
    looked += page.rows.length;
    afterId = page.lastId;
    ({ more } = page);
    yield;
    if (!more || !isOver()) continue;
    throw new SkerryError({
      code: "query-too-dear",
      message: `after ${query.timeoutMs} ms ${looked} entries of ${stream} had been looked at, and there are more`,
      hint: "ask for a shorter time (from, to), or raise timeoutMs",
    });
  }
  const all = groups.all();
  if (all.length <= query.limit) return { rows: all.map((group) => JSON.stringify(group)) };
  throw new SkerryError({
    code: "query-too-dear",
    message: `${all.length} windows and groups, and limit is ${query.limit}`,
    hint: "make the windows longer, the time shorter, or raise limit (at most 1000)",
  });
}

const timeOf = ({ fromMs, toMs }: EntriesQuery) => ({ fromMs, toMs });

const entryOf =
  (view: string) =>
  (row: StreamEntry): Entry => {
    const body = JSON.parse(Buffer.from(row.body).toString()) as JsonObject;
    if (row.cell !== undefined) nameCell(body, row.cell);
    return { id: `${view}.${row.id}`, atMs: row.atMs, body, row };
  };

/** As `GET /v1/streams/NAME/entries` has it. */
const rowOf = ({ row, ...subject }: Entry, fields: readonly Path[] | undefined): string =>
  JSON.stringify({
    ...entryHead({ ...row, cursor: subject.id }),
    body: fields ? projected(subject, fields) : subject.body,
  });
