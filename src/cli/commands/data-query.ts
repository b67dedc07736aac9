import type { Command } from "commander";
import type { QueryAnswer } from "../../client/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { instant, wholeNumber } from "../flag-values.ts";
import { callJson, openLocalApi, type LocalApi } from "../local-api.ts";
import { csvValue, renderTable } from "../output.ts";
import { cells, rowColumns, type Column, type Row } from "../query-columns.ts";
import { followLive } from "./data-live.ts";

export type QueryFlags = {
  data?: string;
  where?: string;
  sort?: readonly string[];
  fields?: readonly string[];
  aggregate?: readonly string[];
  by?: readonly string[];
  limit: number;
  from?: string;
  to?: string;
  cell?: string;
  window?: string;
  points?: number;
  of?: string;
  explain?: boolean;
  live?: boolean;
  json?: boolean;
  csv?: boolean;
};

const pageRows = 1000;
/** What goes beyond a time range. */
const queryFlags = [
  "where",
  "fields",
  "aggregate",
  "by",
  "window",
  "points",
  "csv",
  "live",
] as const;
const onlyOf = {
  collection: ["sort", "explain", "live"],
  stream: ["from", "to", "window", "points"],
} as const;

/** `readEntries`: entries of a time range, as they are. */
export function registerQuery(
  data: Command,
  context: Context,
  readEntries: (stream: string, flags: QueryFlags) => Promise<void>,
): void {
  data
    .command("query <name>")
    .description("documents of a collection, or entries of a stream, by what is in them")
    .option("--where <condition>", 'which, such as: status = "open" and total > 100')
    .option("--sort <fields>", "by these, with - before it the greatest first", words)
    .option("--fields <fields>", "only these, as columns", words)
    .option(
      "--aggregate <measures>",
      "count, sum(x), avg(x), min(x), max(x); first(x), last(x)",
      words,
    )
    .option("--by <fields>", "measure each group of these", words)
    .option("--window <length>", "of a stream: measure each window of time, such as 10m")
    .option("--points <number>", "of a stream: at most this many windows", (text: string) =>
      wholeNumber(text, "--points"),
    )
    .option(
      "--limit <number>",
      "at most this many",
      (text: string) => wholeNumber(text, "--limit"),
      100,
    )
    .option("--from <time>", "of a stream: not before, ISO 8601")
    .option("--to <time>", "of a stream: before, ISO 8601")
    .option("--cell <name>", "on a hub: of this cell")
    .option("--of <kind>", "collection or stream, where both have this name")
    .option("--explain", "also tell how it was looked for")
    .option("--live", "go on with what changes until Ctrl-C")
    .option("--json", "one JSON object a line")
    .option("--csv", "with a header line")
    .option(dataFlag, dataFlagText)
    .addHelpText(
      "after",
      `
A field is total, address.city, id (of the document), or a JSON pointer such as /address/city.
A condition has =, !=, <, <=, >, >=, in (…), contains, prefix, exists, and, or, not, (…).

Examples:
  skerry data query orders --where 'status = "open" and total > 100' --sort=-total --fields id,total --limit 20
  skerry data query orders --aggregate 'count,sum(total)' --by status --csv
  skerry data query orders --where 'status = "open"' --sort=-total --limit 10 --live --json
  skerry data query readings --window 10m --by sensor --aggregate 'avg(celsius),last(celsius)' --from 2026-01-01T08:00:00Z
  skerry data query readings --data /srv/skerry-hub --window 1h --by /@cell --aggregate 'avg(celsius)' --from 2026-01-01T00:00:00Z
  skerry data query telemetry --from 2026-01-01T08:00:00Z --limit 1000 --json > telemetry.ndjson`,
    )
    .action((name: string, flags: QueryFlags) => run(name, flags, context, readEntries));
}

async function run(
  name: string,
  flags: QueryFlags,
  context: Context,
  readEntries: (stream: string, flags: QueryFlags) => Promise<void>,
): Promise<void> {
  for (const flag of ["from", "to"] as const)
    if (flags[flag] !== undefined) instant(flags[flag], `--${flag}`);
  const dataDir = dataDirOf(flags.data, context);
  const onHub = isHubFolder(dataDir);
  const api = await openLocalApi(dataDir, context);
  try {
    const kind = await kindOf(api, name, flags);
    const other = kind === "stream" ? "collection" : "stream";
    const flag = onlyOf[other].find((one) => flags[one] !== undefined);
    if (flag !== undefined)
      throw new SkerryError({
        code: "invalid-argument",
        message: `--${flag}: is of a ${other}, and ${name} is a ${kind}`,
      });
    const asked = queryFlags.find((one) => flags[one] !== undefined);
    if (kind === "stream" && asked === undefined) return await readEntries(name, flags);
    if (flags.live && !onHub) return await followLive(api, name, flags, context);
    if (!onHub || !flags.live) return await query(api, kind, name, flags, context);
    throw new SkerryError({
      code: "invalid-argument",
      message: `--live: is answered by a node, and ${dataDir} is a hub's`,
      hint: "name the data folder of a node",
    });
  } finally {
    await api.close();
  }
}

async function kindOf(
  api: LocalApi,
  name: string,
  { of }: QueryFlags,
): Promise<"collection" | "stream"> {
  if (of === "collection" || of === "stream") return of;
  if (of !== undefined)
    throw new SkerryError({
      code: "invalid-argument",
      message: `--of: "${of}" must be collection or stream`,
    });
  type Names = readonly { readonly name: string }[];
  const [{ collections }, { streams }] = await Promise.all([
    callJson<{ collections: Names }>(api, "/v1/documents"),
    callJson<{ streams: Names }>(api, "/v1/streams"),
  ]);
  const isStream = streams.some((one) => one.name === name);
  if (collections.some((one) => one.name === name) && !isStream) return "collection";
  if (isStream && !collections.some((one) => one.name === name)) return "stream";
  const names = new Set([...collections, ...streams].map((one) => one.name));
  throw new SkerryError(
    isStream
      ? {
          code: "invalid-argument",
          message: `"${name}" is a collection and a stream`,
          hint: "say which: --of collection, or --of stream",
        }
      : {
          code: "stream-unknown",
          message: `there is no collection or stream "${name}"`,
          hint: `there are ${[...names].join(", ") || "none"}`,
        },
  );
}

async function query(
  api: LocalApi,
  kind: "collection" | "stream",
  name: string,
  flags: QueryFlags,
  context: Context,
): Promise<void> {
  const { output } = context;
  const { where, sort, fields, aggregate, by, explain, from, to, window, points, cell } = flags;
  const isWindowed = window !== undefined || points !== undefined;
  const isGrouped = aggregate !== undefined || by !== undefined || isWindowed;
  const given = { where, sort, fields, aggregate, by, explain, from, to, window, points, cell };
  const onHub = isHubFolder(dataDirOf(flags.data, context));
  const columns = isGrouped ? groupColumns(flags) : rowColumns(flags, kind, { onHub });
  const root = kind === "stream" ? "/v1/streams" : "/v1/documents";
  const print = printer(columns, flags, output.isTerminal);
  let left = flags.limit;
  for (let cursor: string | undefined; ;) {
    const page = await callJson<QueryAnswer<Row>>(
      api,
      `${root}/${encodeURIComponent(name)}/query`,
      {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          ...given,
          cursor,
          // Of groups all are made at once.
          limit: isGrouped ? pageRows : Math.min(left, pageRows),
        }),
      },
    );
    for (const line of print(page.rows.slice(0, left))) output.line(line);
    left -= page.rows.length;
    ({ cursor } = page);
    if (page.explain && (cursor === undefined || left <= 0)) explainTo(output, page.explain);
    if (cursor === undefined && left >= 0) return;
    if (left > 0) continue;
    output.note(`there is more; --limit ${flags.limit * 10} shows it`);
    return;
  }
}

function explainTo(
  output: Context["output"],
  { plan, looked, sqlite }: NonNullable<QueryAnswer<Row>["explain"]>,
): void {
  output.note(`looked for through ${plan}; ${looked} looked at`);
  for (const line of sqlite) output.note(`  SQLite: ${line}`);
}

/** Lines of a page; a header before the first. On a terminal each page is aligned by itself. */
function printer(
  columns: readonly Column[],
  { json, csv }: QueryFlags,
  isTerminal: boolean,
): (rows: readonly Row[]) => string[] {
  let isFirst = true;
  const header = () => {
    const labels = columns.map(({ label }) => label);
    const shown = isFirst ? labels : undefined;
    isFirst = false;
    return shown;
  };
  const valuesOf = (row: Row) => columns.map(({ valueOf }) => valueOf(row));
  if (json) return (rows) => rows.map((row) => JSON.stringify(row));
  if (csv)
    return (rows) =>
      [...[header()].filter((labels) => labels !== undefined), ...rows.map(valuesOf)].map((line) =>
        line.map(csvValue).join(","),
      );
  return (rows) => {
    const labels = header()?.map((label) => label.toUpperCase());
    const [first, ...others] = [...(labels ? [labels] : []), ...rows.map(valuesOf).map(cells)];
    return first ? [renderTable(first, others, { tabs: !isTerminal })] : [];
  };
}

const groupColumns = ({ by = [], aggregate = ["count"], window, points }: QueryFlags): Column[] => [
  ...[...(window === undefined && points === undefined ? [] : ["window"]), ...by].map((label) => ({
    label,
    valueOf: (row: Row) => ("group" in row ? row.group[label] : undefined),
  })),
  ...aggregate.map((label) => ({
    label,
    valueOf: (row: Row) => ("values" in row ? row.values[label] : undefined),
  })),
];

/** Between commas, but for those inside of brackets. */
const words = (text: string): string[] =>
  text
    .split(/,(?![^(]*\))/)
    .map((word) => word.trim())
    .filter((word) => word !== "");
