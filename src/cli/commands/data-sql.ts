import type { Command } from "commander";
import { SkerryError } from "../../lib/errors.ts";
import type { Json } from "../../lib/json.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { instant, wholeNumber } from "../flag-values.ts";
import { callJson, openLocalApi } from "../local-api.ts";
import { csvValue, renderTable } from "../output.ts";
import { cells } from "../query-columns.ts";

type Flags = {
  data?: string;
  from?: string;
  to?: string;
  limit: number;
  timeout?: number;
  json?: boolean;
  csv?: boolean;
};
type Answer = { columns: string[]; rows: Json[][]; more: boolean };

export function registerSql(data: Command, context: Context): void {
  data
    .command("sql <statement>")
    .description("one SQL statement that reads, over this node's collections and streams")
    .option("--from <time>", "of streams: entries not before, ISO 8601")
    .option("--to <time>", "of streams: entries before, ISO 8601")
    .option(
      "--limit <number>",
      "at most this many rows",
      (text: string) => wholeNumber(text, "--limit"),
      1000,
    )
    .option("--timeout <ms>", "how long it may take, up to 60000 (default: 5000)", (text: string) =>
      wholeNumber(text, "--timeout"),
    )
    .option("--json", "one JSON object a line")
    .option("--csv", "with a header line")
    .option(dataFlag, dataFlagText)
    .addHelpText(
      "after",
      `
A collection is a view: id, body (JSON), conflicts, and its declared fields. A stream is a table: at,
at_ms, producer, epoch, sequence, origin, position, body. all_views lists them.

Examples:
  skerry data sql 'select name, kind, columns from all_views'
  skerry data sql "select body ->> 'status' as status, count(*) from orders group by 1" --csv
  skerry data sql 'select count(*) from readings' --from 2026-01-01T08:00:00Z --to 2026-01-01T09:00:00Z`,
    )
    .action((statement: string, flags: Flags) => run(statement, flags, context));
}

async function run(sql: string, flags: Flags, context: Context): Promise<void> {
  const { output } = context;
  const { from, to, limit, timeout } = flags;
  const dataDir = dataDirOf(flags.data, context);
  if (isHubFolder(dataDir)) {
    throw new SkerryError({
      code: "invalid-argument",
      message: `--data: statements are answered by a node, and ${dataDir} is a hub's`,
      hint: "name the data folder of a node",
    });
  }
  const request = {
    sql,
    limit,
    ...(from === undefined ? {} : { from: Number(instant(from, "--from")) }),
    ...(to === undefined ? {} : { to: Number(instant(to, "--to")) }),
    ...(timeout === undefined ? {} : { timeoutMs: timeout }),
  };
  const api = await openLocalApi(dataDir, context);
  try {
    const { columns, rows, more } = await callJson<Answer>(api, "/v1/data/sql", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    if (flags.json)
      for (const row of rows)
        output.line(JSON.stringify(Object.fromEntries(columns.map((name, at) => [name, row[at]]))));
    else if (flags.csv)
      for (const line of [columns, ...rows]) output.line(line.map(csvValue).join(","));
    else {
      const labels = columns.map((name) => name.toUpperCase());
      const shown = rows.map((row) => cells(row.map((value) => value ?? undefined)));
      output.line(renderTable(labels, shown, { tabs: !output.isTerminal }));
    }
    if (more) output.note(`there is more; --limit ${limit * 10} shows it`);
  } finally {
    await api.close();
  }
}
