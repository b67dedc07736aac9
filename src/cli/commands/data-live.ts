/** `skerry data query --live`: the first rows, then each difference as it comes. */
import { createDocuments, type LiveUpdate } from "../../client/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Context } from "../context.ts";
import type { LocalApi } from "../local-api.ts";
import { renderTable } from "../output.ts";
import { cells, rowColumns } from "../query-columns.ts";

type Flags = {
  where?: string;
  sort?: readonly string[];
  fields?: readonly string[];
  limit: number;
  json?: boolean;
} & { readonly [other in (typeof notLive)[number]]?: unknown };

const notLive = ["aggregate", "by", "explain", "csv"] as const;

export async function followLive(
  api: LocalApi,
  collection: string,
  flags: Flags,
  { output, stop }: Context,
): Promise<void> {
  const odd = notLive.find((flag) => flags[flag] !== undefined);
  if (odd !== undefined)
    throw new SkerryError({
      code: "invalid-argument",
      message: `--${odd}: does not go with --live`,
      hint: "live queries tell documents, by --where, --sort, --fields and --limit, as a table or --json",
    });
  const { where, sort, fields, limit } = flags;
  const updates = createDocuments(api).live(collection, {
    ...(where === undefined ? {} : { where }),
    ...(sort === undefined ? {} : { sort }),
    ...(fields === undefined ? {} : { fields }),
    limit,
    signal: stop(),
  });
  const show = flags.json ? jsonLine : tables(flags, output.isTerminal);
  for await (const update of updates) {
    if (update.reason !== undefined) output.note(`all rows again: ${update.reason}`);
    for (const line of show(update)) output.line(line);
  }
}

/** As it came: a reader that applies the lines in order has the rows. */
const jsonLine = ({ event, rows, changes, reason }: LiveUpdate): string[] => [
  JSON.stringify(event === "changes" ? { event, changes } : { event, reason, rows }),
];

/** A line for each row that came, changed or went. On a terminal each update is aligned by itself. */
function tables(flags: Flags, isTerminal: boolean): (update: LiveUpdate) => string[] {
  const asked = rowColumns(flags, "collection");
  // Of a row that went nothing else is left to tell.
  const columns = asked.some(({ label }) => label === "id")
    ? asked
    : [...rowColumns({ fields: ["id"] }, "collection"), ...asked];
  let header = ["CHANGE", "AT", ...columns.map(({ label }) => label.toUpperCase())];
  return ({ event, rows, changes }) => {
    const told =
      event === "changes"
        ? changes
        : rows.map((row, at) => ({ change: "added" as const, id: row.id, at, row }));
    const lines = told.map((one) => {
      const row = one.change === "removed" ? { id: one.id, body: {} } : one.row;
      return [one.change, String(one.at), ...cells(columns.map(({ valueOf }) => valueOf(row)))];
    });
    const [first, ...others] = header.length > 0 ? [header, ...lines] : lines;
    header = [];
    return first ? [renderTable(first, others, { tabs: !isTerminal })] : [];
  };
}
