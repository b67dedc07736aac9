import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import type { CellStatus } from "../../api/index.ts";
import { parseDurationMs } from "../../lib/duration.ts";
import { explain } from "../../lib/errors.ts";
import type { Context } from "../context.ts";
import { demoDir } from "../data-dir.ts";
import { demoSite, startDemoSite, stopDemoSite, summarize, waitForDemo } from "../demo-site.ts";
import { callJson, openLocalApi } from "../local-api.ts";
import { renderCellStatus } from "../render-status.ts";

type Flags = { dir?: string; for?: string; clean?: boolean; json?: boolean };

const refreshMs = 1000;
/** Without a terminal the screen is printed this seldom. */
const plainRefreshMs = 15_000;

export function registerDemo(program: Command, context: Context): void {
  program
    .command("demo")
    .description(
      "a hub and a cell of three nodes on this machine, with real telemetry; what `npm start` runs",
    )
    .option("--dir <dir>", "where it lives (default: .skerry/demo in the current folder)")
    .option("--for <duration>", "run this long, then drain and stop")
    .option("--clean", "stop what runs there (by pid and start time) and remove its folder")
    .option("--json", "one summary line at the end")
    .addHelpText(
      "after",
      "\nIt listens on 127.0.0.10 (hub) to 127.0.0.13 only. Started again it finds its state.\n\nExamples:\n  skerry demo\n  skerry demo --for 60s --json\n  skerry demo --clean",
    )
    .action((flags: Flags) => run(flags, context));
}

async function run(flags: Flags, context: Context): Promise<void> {
  const { output, clock } = context;
  const site = demoSite(flags.dir ?? demoDir(context));
  if (flags.clean) {
    const stopped = await stopDemoSite(site, context);
    rmSync(site.dir, { recursive: true, force: true });
    output.line(
      flags.json
        ? JSON.stringify({ dir: site.dir, stopped })
        : `removed ${site.dir}${stopped > 0 ? `, after stopping ${stopped} of its parts` : ""}`,
    );
    return;
  }
  const forMs = flags.for === undefined ? undefined : parseDurationMs(flags.for, "--for");
  const stop = context.stop();
  const startedMs = clock.monotonicMs();
  try {
    await startDemoSite(site, context, stop);
    await waitForDemo(site, context, stop);
    output.note(`ready after ${((clock.monotonicMs() - startedMs) / 1000).toFixed(1)} s\n`);
    output.note(whatToTry(site.dir));
    await showUntil(
      site.nodes[0]?.dataDir ?? "",
      {
        untilMs: forMs === undefined ? undefined : clock.monotonicMs() + forMs,
        quiet: flags.json === true,
      },
      stop,
      context,
    );
    if (flags.json) output.line(JSON.stringify(await summarize(site, context)));
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    output.note(
      "\ndraining and stopping hub, nodes and pods (their state stays; `skerry demo --clean` removes it)",
    );
    await stopDemoSite(site, context);
  }
}

/** Lines that can be pasted into another terminal as they are. */
function whatToTry(dir: string): string {
  const flag = `--data ${join(dir, "n1")}`;
  return [
    "Three things to try in another terminal (same folder):",
    `  npx skerry status ${flag}`,
    `  curl -s http://127.0.0.12:8080/hello            # any node's ingress reaches pods on every node`,
    `  npx skerry data tail telemetry --data ${join(dir, "hub")} --cell demo`,
    "And take something away: npx skerry drill quick (its own site, about a minute and a half)",
    "Ctrl-C drains and stops everything.",
    "",
  ].join("\n");
}

async function showUntil(
  dataDir: string,
  options: { untilMs: number | undefined; quiet: boolean },
  stop: AbortSignal,
  context: Context,
): Promise<void> {
  const { clock, output } = context;
  const api = await openLocalApi(dataDir, context);
  const live = output.isTerminal && !options.quiet;
  try {
    while (
      !stop.aborted &&
      (options.untilMs === undefined || clock.monotonicMs() < options.untilMs)
    ) {
      const text = await callJson<CellStatus>(api, "/v1/status").then(
        (status) => renderCellStatus(status, { tabs: false, colors: live }),
        (error: unknown) => `no status just now: ${explain(error)}`,
      );
      if (live) output.line(`\u001b[H\u001b[2J${text}\n\n${whatToTry(demoDir(context))}`);
      else if (!options.quiet) output.line(`${text}\n`);
      const leftMs = (options.untilMs ?? Number.POSITIVE_INFINITY) - clock.monotonicMs();
      await clock
        .sleep(Math.max(0, Math.min(live ? refreshMs : plainRefreshMs, leftMs)), { signal: stop })
        .catch(() => undefined);
    }
  } finally {
    await api.close();
  }
}
