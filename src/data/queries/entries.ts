/**
 * Queries over the entries of a stream, rows and sealed segments alike: those of a time range that
 * meet a condition, or what is measured of them in windows of time. A generator in a snapshot, as
 * `run.ts`. Entries come in the order of their arrival; windows go by the time that they are of.
 */
import type { Path } from "../../api/records/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import type { Json } from "../documents/json.ts";
import { parseCursor } from "../streams/cursor.ts";
import { createEntryReads, type RowPage } from "../tables/entry-reads.ts";
import { createNames } from "../tables/names.ts";
import { createSegments } from "../tables/segments.ts";
import { entryHead } from "../routes/lines.ts";
import { createGroups } from "./aggregate.ts";
import { compile, type Subject } from "./evaluate.ts";
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

/** A stream as it is in the snapshot. */
export type OpenStream = {
  readonly view: string;
  page(query: { afterId: number; fromMs: number; toMs: number; limit: number }): RowPage;
};

/** Declared, and without an entry yet. */
export const noEntries: OpenStream = {
  view: "",
  page: () => ({ rows: [], lastId: 0, more: false }),
};

export interface EntryReading {
  /** Undefined: it has no entry yet. */
  open(stream: string): OpenStream | undefined;
}

const pageRows = 500;
const pageBytesMax = 4 * 1024 * 1024;

export function createEntryReading(db: Database): EntryReading {
  const view = db.prepare("SELECT value FROM meta WHERE name = 'view'");
  const lastRow = db.prepare("SELECT max(id) AS id FROM entry");
  return {
    open(stream) {
      // Read anew in every snapshot: the writer seals, removes and interns meanwhile.
      const names = createNames(db);
      const row = names.findStream("", stream);
      if (!row) return undefined;
      const segments = createSegments(db, names);
      const last = Math.max(Number(lastRow.get()?.["id"] ?? 0), segments.lastId);
      const reads = createEntryReads(db, { names, segments }, () => last + 1);
      return {
        view: String(view.get()?.["value"]),
        page: (query) => reads.page({ streams: [row], ...query }),
      };
    },
  };
}

type Asked = {
  readonly stream: string;
  readonly query: EntriesQuery;
  readonly isOver: () => boolean;
};
type Entry = Subject & { readonly atMs: number; readonly row: RowPage["rows"][number] };

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
  (row: Entry["row"]): Entry => ({
    id: `${view}.${row.id}`,
    atMs: row.atMs,
    body: JSON.parse(Buffer.from(row.body).toString()) as Json,
    row,
  });

/** As `GET /v1/streams/NAME/entries` has it. */
const rowOf = ({ row, ...subject }: Entry, fields: readonly Path[] | undefined): string =>
  JSON.stringify({
    ...entryHead({ ...row, cursor: subject.id }),
    body: fields ? projected(subject, fields) : subject.body,
  });
