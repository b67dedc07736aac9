import type { Command } from "commander";
import { formatBytes } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { openLocalApi } from "../local-api.ts";
import { exportFormats, exportStream, type ExportFormat } from "../export/stream-export.ts";

type Flags = {
  data?: string;
  out: string;
  format: string;
  from?: string;
  to?: string;
  cell?: string;
  json?: boolean;
};

export function registerExport(data: Command, context: Context): void {
  data
    .command("export <stream>")
    .description("entries of a time range into a file; run again after a break, it goes on")
    .requiredOption(
      "--out <file>",
      "the file to write; FILE.resume stands beside it until it is whole",
    )
    .option("--format <format>", "ndjson, csv or parquet", "ndjson")
    .option("--from <time>", "not before, ISO 8601")
    .option("--to <time>", "before, ISO 8601")
    .option("--cell <name>", "on a hub: of this cell")
    .option(dataFlag, dataFlagText)
    .option("--json", "the outcome as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry data export telemetry --out telemetry.ndjson\n  skerry data export readings --out june.csv --format csv --from 2026-06-01T00:00:00Z --to 2026-07-01T00:00:00Z\n  skerry data export readings --out june.parquet --format parquet --from 2026-06-01T00:00:00Z --to 2026-07-01T00:00:00Z",
    )
    .action((stream: string, flags: Flags) => run(stream, flags, context));
}

async function run(stream: string, flags: Flags, context: Context): Promise<void> {
  const { output } = context;
  const { format } = flags;
  if (!isFormat(format)) {
    throw new SkerryError({
      code: "invalid-argument",
      message: `--format: "${format}" is not known`,
      hint: `use ${exportFormats.join(", ")}`,
    });
  }
  const dataDir = dataDirOf(flags.data, context);
  if (isHubFolder(dataDir) && flags.cell === undefined) {
    throw new SkerryError({
      code: "invalid-argument",
      message: "--cell: missing; a hub holds the streams of many cells",
      hint: `skerry status --data ${dataDir} lists them`,
    });
  }
  const api = await openLocalApi(dataDir, context);
  try {
    const result = await exportStream(api, {
      stream,
      path: flags.out,
      format,
      query: {
        ...(flags.from === undefined ? {} : { from: flags.from }),
        ...(flags.to === undefined ? {} : { to: flags.to }),
        ...(flags.cell === undefined ? {} : { cell: flags.cell }),
      },
      onProgress: ({ entries, bytes }) =>
        output.progress(`${entries} entries, ${formatBytes(bytes)}`),
    });
    output.endProgress();
    const { entries, bytes, resumed } = result;
    const before = resumed > 0 ? `, ${resumed} of them by a run before` : "";
    output.line(
      flags.json
        ? JSON.stringify(result)
        : `${entries} entries of ${stream} into ${flags.out} (${formatBytes(bytes)})${before}`,
    );
  } finally {
    output.endProgress();
    await api.close();
  }
}

const isFormat = (text: string): text is ExportFormat =>
  (exportFormats as readonly string[]).includes(text);
