/**
 * Entries as columns, a batch at a time, for a program that computes on many: numbers in typed arrays,
 * one page in memory, and no page asked for before the one before it was taken. It goes on with what
 * comes, or from where an earlier run was.
 */
import { parsePath, valueAtPath, type Path } from "../api/records/index.ts";
import type { Clock } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Json, JsonObject } from "../lib/json.ts";
import { bodyOf, searchOf, type Call } from "./caller.ts";
import { followLines } from "./follow.ts";
import { patiently } from "./patiently.ts";
import type { Entry } from "./streams-entry.ts";

/**
 * `number`: NaN where there is none. `boolean`: 1, 0, and 255 where there is none. `text` and `json`:
 * undefined where there is none. A value of another type counts as none.
 */
export type ColumnKind = "number" | "boolean" | "text" | "json";

export type ColumnOf<Kind extends ColumnKind> = Kind extends "number"
  ? Float64Array
  : Kind extends "boolean"
    ? Uint8Array
    : Kind extends "text"
      ? readonly (string | undefined)[]
      : readonly (Json | undefined)[];

/** Fields by what they hold: `celsius`, `address.city`, or a JSON pointer. */
export type ColumnKinds = Readonly<Record<string, ColumnKind>>;

export type Batch<Kinds extends ColumnKinds> = {
  readonly length: number;
  /** Milliseconds since 1970. */
  readonly atMs: Float64Array;
  readonly columns: { readonly [Name in keyof Kinds]: ColumnOf<Kinds[Name]> };
  /** Give it as `after` to go on behind this batch, on the same node. */
  readonly cursor: string;
};

export type BatchesOptions<Kinds extends ColumnKinds> = {
  readonly columns: Kinds;
  /** Milliseconds since 1970. */
  readonly from?: number;
  readonly to?: number;
  /** A batch's cursor. */
  readonly after?: string;
  /** Entries at most, 1 to 10000. Default 1000. */
  readonly batchEntries?: number;
  /** Wait for what comes instead of ending with what is there. */
  readonly follow?: boolean;
  /** On a hub: of this cell. */
  readonly cell?: string;
  readonly signal?: AbortSignal;
};

type Page = { readonly entries: readonly Entry[]; readonly cursor: string; readonly more: boolean };

/** Throws `invalid-argument` for what is no field, and what the server says. */
export async function* batchesOf<Kinds extends ColumnKinds>(
  { call, clock }: { call: Call; clock: Clock },
  path: string,
  options: BatchesOptions<Kinds>,
): AsyncGenerator<Batch<Kinds>> {
  const { columns, batchEntries = 1000, follow = false, signal, after, ...range } = options;
  const paths = Object.entries(columns).map(([name, kind]) => ({ name, kind, path: pathOf(name) }));
  try {
    for (let cursor = after; ;) {
      const asked = searchOf({ ...range, after: cursor, format: "json", limit: batchEntries });
      const read = async () =>
        bodyOf<Page>(await call(`${path}?${asked}`, signal ? { signal } : {}), signal);
      const page = await (follow ? patiently(clock, read, { signal }) : read());
      ({ cursor } = page);
      if (page.entries.length > 0) yield batchOf(page, paths) as Batch<Kinds>;
      if (page.more) continue;
      if (!follow) return;
      // Until the first comes; it is asked for again, with all that came with it.
      const next = followLines({ call, clock }, path, { after: cursor, range, signal });
      for await (const _ of next) break;
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
}

type Wanted = { readonly name: string; readonly kind: ColumnKind; readonly path: Path };

function batchOf({ entries, cursor }: Page, wanted: readonly Wanted[]): Batch<ColumnKinds> {
  const columns = wanted.map(({ name, kind, path }): [string, ColumnOf<ColumnKind>] => {
    const values = entries.map(({ body }) =>
      valueAtPath({ id: "", body: body as JsonObject }, path),
    );
    return [name, columnOf(kind, values)];
  });
  return {
    length: entries.length,
    atMs: Float64Array.from(entries, ({ at }) => Date.parse(at)),
    columns: Object.fromEntries(columns),
    cursor,
  };
}

function columnOf(kind: ColumnKind, values: readonly (Json | undefined)[]): ColumnOf<ColumnKind> {
  switch (kind) {
    case "number":
      return Float64Array.from(values, (value) => (typeof value === "number" ? value : NaN));
    case "boolean":
      return Uint8Array.from(values, (value) => (typeof value === "boolean" ? Number(value) : 255));
    case "text":
      return values.map((value) => (typeof value === "string" ? value : undefined));
    case "json":
      return values;
  }
}

function pathOf(name: string): Path {
  const path = parsePath(name);
  if (path) return path;
  throw new SkerryError({
    code: "invalid-argument",
    message: `columns: "${name}" is no field`,
    hint: "write it as celsius, address.city or /address/city",
  });
}
