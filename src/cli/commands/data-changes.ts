import type { Command } from "commander";
import { searchOf } from "../../client/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { entryLines, followEntries } from "../entry-lines.ts";
import { openLocalApi } from "../local-api.ts";

type Flags = { data?: string; after?: string; cell?: string; follow?: boolean };

/** What a warehouse takes on from a hub: all streams of all cells, and a place to go on from. */
export function registerChanges(data: Command, context: Context): void {
  data
    .command("changes")
    .description("on a hub: the entries of all streams and cells as they arrived, one JSON a line")
    .option("--after <cursor>", "go on behind this line's cursor (default: from the oldest)")
    .option("--cell <name>", "of this cell only")
    .option("--follow", "wait for more until Ctrl-C")
    .option(dataFlag, dataFlagText)
    .addHelpText(
      "after",
      "\nEvery line carries its cursor: keep that of the last line that was taken, in one transaction with it.\n\nExamples:\n  skerry data changes --data /srv/skerry-hub > all.ndjson\n  skerry data changes --data /srv/skerry-hub --follow --after v7x2k9q4.120034",
    )
    .action((flags: Flags) => run(flags, context));
}

async function run(flags: Flags, context: Context): Promise<void> {
  const dataDir = dataDirOf(flags.data, context);
  if (!isHubFolder(dataDir))
    throw new SkerryError({
      code: "invalid-argument",
      message: `--data: ${dataDir} is not a hub's`,
      hint: "on a node: skerry data tail STREAM, or a consumer group",
    });
  const { after, cell, follow } = flags;
  const path = "/v1/changes";
  const api = await openLocalApi(dataDir, context);
  try {
    if (follow) {
      const entries = followEntries(api, path, { after, range: { cell } }, context);
      for await (const { text } of entries) context.output.line(text);
    } else {
      const lines = await entryLines(api, `${path}?${searchOf({ after, cell })}`);
      for await (const line of lines) context.output.line(line);
    }
  } finally {
    await api.close();
  }
}
