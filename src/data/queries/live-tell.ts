/** What changed in one live query since its reader was last told, as the text that the routes send. */
import { SkerryError } from "../../lib/errors.ts";
import type { Predicate } from "./evaluate.ts";
import type { DocumentsShape, Query } from "./query.ts";
import { sourceOf, subjectOfText, type Reads } from "./reads.ts";
import { pageBytesMax, readWindow, rowOf, tooLarge } from "./run.ts";
import { digestOf, heldOf, reserveOf, type Held, type Step, type Window } from "./window.ts";

export type Live = {
  readonly number: number;
  readonly collection: string;
  readonly query: Query;
  readonly shape: DocumentsShape;
  /** Equal where `where`, order and fields are: a document is held against these once for all. */
  readonly form: string;
  readonly holds: Predicate;
  readonly window: Window;
  version: number;
};

/** Whether the time of a query is over. */
export type Until = (timeoutMs: number) => () => boolean;

/** Bodies of documents that changed, kept for the rows of several live queries. */
export const bodiesBytesMax = 4 * 1024 * 1024;

/** Undefined: nothing that it shows is different. */
export function* tell(
  reads: Reads,
  { collection, query, shape, window }: Live,
  on: {
    number: number;
    documents: number;
    bodies: ReadonlyMap<string, string>;
    rows: RowTexts;
    until: Until;
  },
): Generator<void, string | undefined> {
  const { number, documents, bodies } = on;
  const lacking = window.lacking();
  if (lacking) {
    const { rows: least, behind: after } = lacking;
    const limit = least + reserveOf(query.limit);
    const asked = {
      collection,
      documents,
      query: { ...query, limit },
      isOver: on.until(query.timeoutMs),
    };
    const { rows, isLast } = yield* readWindow(sourceOf(reads, number), asked, {
      shape,
      after,
      least,
    });
    window.fill(
      rows.map(({ row, place }) => heldOf(place, digestOf(row))),
      isLast,
    );
  }
  const rowAt = ({ id }: Held): string =>
    on.rows.get(id, () => {
      const body = bodies.get(id) ?? reads.body(number, id);
      if (body === undefined)
        throw new SkerryError({ code: "internal", message: `a row of a snapshot is gone: ${id}` });
      return rowOf(subjectOfText({ id, body }), shape.fields);
    });
  const steps = window.differences();
  if (steps.length === 0) return undefined;
  let bytes = 0;
  const texts = steps.map((step) => {
    if (bytes >= pageBytesMax) throw tooLarge("a difference");
    const text = stepText(step, rowAt);
    bytes += text.length;
    return text;
  });
  return `{"changes":[${texts.join(",")}]}`;
}

/** Rows that several live queries show. */
export type RowTexts = { get(id: string, make: () => string): string };
export function rowTexts(): RowTexts {
  const kept = new Map<string, string>();
  let bytes = 0;
  return {
    get(id, make) {
      const known = kept.get(id);
      if (known !== undefined) return known;
      const row = make();
      bytes += row.length;
      if (bytes < bodiesBytesMax) kept.set(id, row);
      return row;
    },
  };
}

/** Rows are JSON already; they are put in as they are. */
function stepText(step: Step, rowAt: (held: Held) => string): string {
  const { change, at, held } = step;
  if (change === "removed") return JSON.stringify({ change, id: held.id, at });
  const from = change === "changed" && step.from !== undefined ? { from: step.from } : {};
  return `${JSON.stringify({ change, id: held.id, at, ...from }).slice(0, -1)},"row":${rowAt(held)}}`;
}
