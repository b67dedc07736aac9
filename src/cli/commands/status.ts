import type { Command } from "commander";
import { readAgentInfo } from "../../agent/index.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import type { CellStatus, FleetStatus } from "../../api/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { callJson, openLocalApi, type LocalApi } from "../local-api.ts";
import { renderCellStatus, renderFleetStatus, renderMatrix } from "../render-status.ts";

const watchEveryMs = 1000;

export function registerStatus(program: Command, context: Context): void {
  program
    .command("status")
    .description("one screen: nodes, pods, streams, backlog, and what is wrong in words")
    .option(dataFlag, dataFlagText)
    .option("-w, --watch", "again every second until Ctrl-C")
    .option("--matrix", "who heard whom, by which path, and when, as this node knows it")
    .option("--json", "as JSON, with the matrix")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry status\n  skerry status --matrix --watch\n  skerry status --data .skerry/demo/hub     the hub's view of its cells",
    )
    .action(async (flags: StatusFlags) => {
      const dataDir = dataDirOf(flags.data, context);
      if (!isHubFolder(dataDir)) readAgentInfo(dataDir);
      const api = await openLocalApi(dataDir, context);
      try {
        if (flags.watch) await watch(api, dataDir, flags, context);
        else
          context.output.line(
            flags.json
              ? JSON.stringify(await read(api))
              : await render(api, dataDir, flags, context),
          );
      } finally {
        await api.close();
      }
    });
}

type StatusFlags = { data?: string; watch?: boolean; matrix?: boolean; json?: boolean };

const read = (api: LocalApi) => callJson<CellStatus | FleetStatus>(api, "/v1/status");

async function render(
  api: LocalApi,
  dataDir: string,
  { matrix }: StatusFlags,
  { output }: Context,
): Promise<string> {
  const status = await read(api);
  const options = { tabs: !output.isTerminal, colors: output.isTerminal };
  if (isHubFolder(dataDir)) return renderFleetStatus(status as FleetStatus, options);
  return matrix
    ? renderMatrix(status as CellStatus, options)
    : renderCellStatus(status as CellStatus, options);
}

async function watch(
  api: LocalApi,
  dataDir: string,
  flags: StatusFlags,
  context: Context,
): Promise<void> {
  const signal = context.stop();
  while (!signal.aborted) {
    const text = await render(api, dataDir, flags, context);
    context.output.line(context.output.isTerminal ? `\u001b[H\u001b[2J${text}` : text);
    await context.clock.sleep(watchEveryMs, { signal }).catch(() => undefined);
  }
}
