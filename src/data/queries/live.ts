/**
 * Live queries over documents, in the queries' thread. Each holds a window (`window.ts`) as of one
 * version of its collection, the number of the last change in it. A look takes the documents that were
 * written since, in a snapshot, holds each against the conditions once for every live query, and reads
 * more only where a window lacks rows. Nothing is kept for a reader that does not ask: whatever it
 * missed is one difference, as large as the result at most twice (Q7).
 */
import type { Clock } from "../../lib/clock.ts";
import { encodeError, SkerryError, type EncodedError } from "../../lib/errors.ts";
import { stable } from "../../lib/stable.ts";
import type { Connections } from "./connections.ts";
import {
  bodiesBytesMax,
  rowTexts,
  tell,
  type Live,
  type RowTexts,
  type Until,
} from "./live-tell.ts";
import { compile, type Subject } from "./evaluate.ts";
import type { DocumentsRequest, DocumentsShape } from "./query.ts";
import { sourceOf, subjectOfText, type Changed, type Reads } from "./reads.ts";
import { placing, readWindow, rowOf } from "./run.ts";
import { createWindow, digestOf, heldOf, reserveOf, type Held } from "./window.ts";

/** `live`: a number that its owner chose, and never uses again. */
export type LiveRequest = DocumentsRequest & { readonly live: number };

export type Looked = {
  /** `text`: JSON of what changed, as the routes send it. */
  readonly told: readonly { readonly live: number; readonly text: string }[];
  /** Over, and why. */
  readonly ended: readonly { readonly live: number; readonly error: EncodedError }[];
  /** Not of this thread: it was started again meanwhile. */
  readonly unknown: readonly number[];
  /** To be asked again at once: so much is not told in one answer. */
  readonly left: readonly number[];
};

export interface LiveEngine {
  /** The first result, its rows as JSON. Throws as `documents` of the engine. */
  open(request: LiveRequest): Promise<readonly string[]>;
  /** What changed for these since they were last asked; those without a change are not in the answer. */
  look(lives: readonly number[]): Promise<Looked>;
  close(live: number): void;
}

/** All live queries together; about 60 MB. */
const rowsHeldMax = 200_000;
const answerBytesMax = 16 * 1024 * 1024;

/** A document that changed, as far as somebody asked for it. */
type Touched = { readonly subject?: Subject; row?: string; digest?: string };

export function createLiveEngine(
  { clock }: { clock: Clock },
  options: {
    documents: Connections<Reads>;
    find(reads: Reads, request: DocumentsRequest): { number: number; documents: number };
  },
): LiveEngine {
  const { documents, find } = options;
  const liveByNumber = new Map<number, Live>();
  /** Being opened, and closed before that was done. */
  const opening = new Set<number>();

  const until = (timeoutMs: number): (() => boolean) => {
    const endMs = clock.monotonicMs() + timeoutMs;
    return () => documents.isClosed || clock.monotonicMs() >= endMs;
  };
  const requireRoom = (limit: number) => {
    const held = [...liveByNumber.values()].reduce((sum, { window }) => sum + window.size, 0);
    if (held + limit <= rowsHeldMax) return;
    throw new SkerryError({
      code: "store-busy",
      message: `the live queries of this node hold ${held} rows, and ${rowsHeldMax} is the most`,
      hint: "ask with a smaller limit, or another node",
      retryable: true,
    });
  };

  function* start(reads: Reads, request: LiveRequest, shape: DocumentsShape) {
    const { collection, query } = request;
    const { sort } = shape;
    const { number, documents: count } = find(reads, request);
    const version = reads.lastChange(number);
    const asked = {
      collection,
      documents: count,
      query: { ...query, limit: query.limit + reserveOf(query.limit) },
      isOver: until(query.timeoutMs),
    };
    const { rows, isLast } = yield* readWindow(sourceOf(reads, number), asked, {
      shape,
      least: query.limit,
    });
    const held = rows.map(({ row, place }) => heldOf(place, digestOf(row)));
    const window = createWindow({ sort, limit: query.limit }, { rows: held, isLast });
    const live: Live = {
      number: request.live,
      collection,
      query,
      shape,
      form: stable({ where: query.where, shape }),
      holds: compile(query.where),
      window,
      version,
    };
    return { live, rows: rows.slice(0, query.limit).map(({ row }) => row) };
  }

  return {
    async open(request) {
      const { shape } = request.query;
      if (shape.rows === "groups")
        throw new SkerryError({ code: "internal", message: "live queries answer documents" });
      requireRoom(request.query.limit);
      opening.add(request.live);
      try {
        const { live, rows } = await documents.use((reads) => start(reads, request, shape));
        if (opening.has(live.number)) liveByNumber.set(live.number, live);
        return rows;
      } finally {
        opening.delete(request.live);
      }
    },
    async look(numbers) {
      const lives = numbers.flatMap((number) => liveByNumber.get(number) ?? []);
      const unknown = numbers.filter((number) => !liveByNumber.has(number));
      if (lives.length === 0) return { told: [], ended: [], unknown, left: [] };
      const looked = await documents.use((reads) => lookAt(reads, lives, until));
      for (const { live } of looked.ended) liveByNumber.delete(live);
      return { ...looked, unknown };
    },
    close(live) {
      opening.delete(live);
      liveByNumber.delete(live);
    },
  };
}

function* lookAt(
  reads: Reads,
  lives: readonly Live[],
  until: Until,
): Generator<void, Omit<Looked, "unknown">> {
  const told: { live: number; text: string }[] = [];
  const ended: { live: number; error: EncodedError }[] = [];
  const left: number[] = [];
  let bytes = 0;
  for (const [collection, ofCollection] of Map.groupBy(lives, (live) => live.collection)) {
    const found = reads.collection(collection);
    if (!found) continue;
    const upto = reads.lastChange(found.number);
    for (const [since, group] of Map.groupBy(ofCollection, (live) => live.version)) {
      // What was told is told: a failure ends those that it concerns, and nobody else.
      const fail = (live: Live, error: unknown) =>
        void ended.push({ live: live.number, error: encodeError(error) });
      let bodies: ReadonlyMap<string, string>;
      try {
        bodies = yield* takeChanges(reads, group, { collection: found.number, since, upto });
      } catch (error) {
        for (const live of group) fail(live, error);
        continue;
      }
      const rowsByForm = new Map<string, RowTexts>();
      for (const live of group) {
        yield;
        const rows = rowsByForm.get(live.form) ?? rowTexts();
        rowsByForm.set(live.form, rows);
        if (bytes >= answerBytesMax) {
          left.push(live.number);
          continue;
        }
        try {
          const text = yield* tell(reads, live, { ...found, bodies, rows, until });
          if (text === undefined) continue;
          bytes += text.length;
          told.push({ live: live.number, text });
        } catch (error) {
          fail(live, error);
        }
      }
    }
  }
  return { told, ended, left };
}

/** Takes all changes into all windows; bodies of some, so that they are not read again. */
function* takeChanges(
  reads: Reads,
  group: readonly Live[],
  { collection, since, upto }: { collection: number; since: number; upto: number },
): Generator<void, ReadonlyMap<string, string>> {
  const bodies = new Map<string, string>();
  if (upto <= since) return bodies;
  let bytes = 0;
  const forms = [...Map.groupBy(group, ({ form }) => form).values()];
  for (const changed of reads.changed(collection, since)) {
    const touched = touchedBy(changed);
    for (const lives of forms) {
      const [any] = lives;
      const held = any && heldBy(any, touched);
      for (const { window } of lives) window.take(changed.id, held);
    }
    if (changed.body !== null && bytes < bodiesBytesMax) {
      bodies.set(changed.id, changed.body);
      bytes += changed.body.length;
    }
    yield;
  }
  for (const live of group) live.version = upto;
  return bodies;
}

const touchedBy = ({ id, body }: Changed): Touched =>
  body === null ? {} : { subject: subjectOfText({ id, body }) };

/** Undefined: it does not belong to the result. */
function heldBy({ holds, shape: { sort, fields } }: Live, touched: Touched): Held | undefined {
  const { subject } = touched;
  if (!subject || !holds(subject)) return undefined;
  const place = placing(sort)(subject);
  if (fields) return heldOf(place, digestOf(rowOf(subject, fields)));
  touched.row ??= rowOf(subject, undefined);
  touched.digest ??= digestOf(touched.row);
  return heldOf(place, touched.digest);
}
