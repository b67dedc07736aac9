import type { Command } from "commander";
import {
  importCsv,
  searchOf,
  type Entry,
  type FollowedLine,
  type ImportProgress,
} from "../../client/index.ts";
import { formatBytes } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import { openCsvFile } from "../csv-file.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { entryLines, followEntries } from "../entry-lines.ts";
import { registerDocuments } from "./data-documents.ts";
import { registerChanges } from "./data-changes.ts";
import { registerDead } from "./data-dead.ts";
import { registerExport } from "./data-export.ts";
import { registerGroups } from "./data-groups.ts";
import { registerQuery } from "./data-query.ts";
import { registerSql } from "./data-sql.ts";
import { registerVerify } from "./data-verify.ts";
import { instant, wholeNumber } from "../flag-values.ts";
import { openLocalApi } from "../local-api.ts";
import { renderTable } from "../output.ts";

type ReadFlags = {
  data?: string;
  cell?: string;
  limit?: string;
  from?: string;
  to?: string;
  json?: boolean;
};
type ImportFlags = { data?: string; stream: string; durability?: string; json?: boolean };

export function registerData(program: Command, context: Context): void {
  const data = program
    .command("data")
    .description(
      "read, query and import the entries of streams, and documents, on a node or on the hub",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  skerry data tail telemetry\n  skerry data import readings.csv --stream readings",
    );

  data
    .command("tail <stream>")
    .description("follow a stream until Ctrl-C")
    .option(dataFlag, dataFlagText)
    .option("--cell <name>", "on a hub: of this cell")
    .option("--json", "one JSON object a line, as stored")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry data tail telemetry\n  skerry data tail telemetry --data .skerry/demo/hub --cell demo",
    )
    .option("--limit <number>", "begin with this many of the newest entries", "10")
    .action((stream: string, flags: ReadFlags) => read(stream, flags, true, context));

  registerQuery(data, context, (stream, { limit, ...flags }) =>
    read(stream, { ...flags, limit: String(limit) }, false, context),
  );

  data
    .command("import <file>")
    .description("import a CSV file with a header line; importing it twice stores it once")
    .requiredOption("--stream <name>", "the stream, which must exist")
    .option(dataFlag, dataFlagText)
    .option("--durability <level>", "memory, local, peer(1) or hub (default: the stream's own)")
    .option("--json", "the outcome as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry data import readings.csv --stream readings\n  skerry data import readings.csv --stream readings --durability 'peer(1)'",
    )
    .action((file: string, flags: ImportFlags) => runImport(file, flags, context));

  registerExport(data, context);
  registerGroups(data, context);
  registerChanges(data, context);
  registerDocuments(data, context);
  registerSql(data, context);
  registerVerify(data, context);
  registerDead(data, context);
}

async function read(
  stream: string,
  flags: ReadFlags,
  follow: boolean,
  context: Context,
): Promise<void> {
  const dataDir = dataDirOf(flags.data, context);
  if (isHubFolder(dataDir) && flags.cell === undefined) {
    throw new SkerryError({
      code: "invalid-argument",
      message: "--cell: missing; a hub holds the streams of many cells",
      hint: `skerry status --data ${dataDir} lists them`,
    });
  }
  const limit = wholeNumber(flags.limit ?? "100", "--limit");
  const range = {
    cell: flags.cell,
    ...(flags.from === undefined ? {} : { from: instant(flags.from, "--from") }),
    ...(flags.to === undefined ? {} : { to: instant(flags.to, "--to") }),
  };
  const path = `/v1/streams/${encodeURIComponent(stream)}/entries`;
  const api = await openLocalApi(dataDir, context);
  try {
    if (follow) {
      const entries = followEntries(api, path, { newest: limit, range }, context);
      await printTail(entries, flags, context);
    } else {
      const lines = await entryLines(api, `${path}?${searchOf({ ...range, limit })}`);
      await printTable(lines, flags, context);
    }
  } finally {
    await api.close();
  }
}

/** One short line an entry. */
async function printTail(
  entries: AsyncIterable<FollowedLine>,
  { json }: ReadFlags,
  { output }: Context,
): Promise<void> {
  for await (const { text, entry } of entries)
    output.line(json ? text : cellsOf(entry).join(output.isTerminal ? "  " : "\t"));
}

async function printTable(
  lines: AsyncIterable<string>,
  { json }: ReadFlags,
  { output }: Context,
): Promise<void> {
  const rows: string[][] = [];
  for await (const line of lines) {
    if (json) output.line(line);
    else rows.push(cellsOf(JSON.parse(line) as Entry));
  }
  if (!json)
    output.line(renderTable(["AT", "SOURCE", "ENTRY"], rows, { tabs: !output.isTerminal }));
}

const cellsOf = ({ at, producer, sequence, origin, body }: Entry): string[] => [
  at,
  producer === undefined ? origin : `${producer}#${sequence}`,
  JSON.stringify(body),
];

async function runImport(file: string, flags: ImportFlags, context: Context): Promise<void> {
  const { output } = context;
  const source = await openCsvFile(file);
  const api = await openLocalApi(dataDirOf(flags.data, context), context);
  const progress = ({ rows, bytes }: ImportProgress) =>
    output.progress(
      `${rows} rows, ${formatBytes(bytes)} of ${formatBytes(source.bytes)} (${Math.floor((bytes / Math.max(1, source.bytes)) * 100)} %)`,
    );
  try {
    const result = await importCsv(source, {
      url: api.url,
      fetch: api.fetch,
      stream: flags.stream,
      ...(flags.durability === undefined ? {} : { durability: flags.durability }),
      onProgress: progress,
    });
    output.endProgress();
    if (flags.json) output.line(JSON.stringify(result));
    else
      output.line(
        [
          `${result.rows} rows into ${flags.stream}: ${result.stored} stored`,
          `${result.duplicates} were there already`,
          ...(result.short > 0 ? [`${result.short} not as far as asked for: run it again`] : []),
        ].join(", "),
      );
    if (result.short > 0) process.exitCode = 1;
  } finally {
    output.endProgress();
    await api.close();
  }
}
