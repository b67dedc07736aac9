import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import {
  drills,
  guardedBy,
  loopbackNetwork,
  runAsObserver,
  type Drill,
  type DrillReport,
  type Guarded,
} from "../../drill/index.ts";
import { parseDurationMs } from "../../lib/duration.ts";
import { explain, SkerryError } from "../../lib/errors.ts";
import type { Context } from "../context.ts";
import { renderTable } from "../output.ts";

type Flags = { seed?: string; for?: string; slow?: string; keep?: boolean; json?: boolean };

export function registerDrill(program: Command, context: Context): void {
  const drill = program
    .command("drill")
    .description(
      "inject faults on purpose into a throw-away hub and cell, and measure what was promised",
    )
    .addHelpText("after", "\nExamples:\n  skerry drill list\n  skerry drill quick --seed 7");
  drill
    .command("list")
    .description("the drills there are")
    .option("--json", "as JSON")
    .addHelpText("after", "\nExample:\n  skerry drill list --json")
    .action((flags: { json?: boolean }) => {
      const { output } = context;
      if (flags.json)
        output.line(
          JSON.stringify(drills.map(({ name, summary, faults }) => ({ name, summary, faults }))),
        );
      else
        output.line(
          renderTable(
            ["DRILL", "WHAT IT DOES"],
            drills.map(({ name, summary }) => [name, summary]),
            { tabs: !output.isTerminal },
          ),
        );
    });
  for (const one of drills) {
    drill
      .command(one.name)
      .description(one.summary)
      .option("--seed <number>", "fault times and ids come from it (default: random, and printed)")
      .option("--for <duration>", "how long the load runs", `${one.defaultForMs / 1000}s`)
      .option(
        "--slow <factor>",
        "for a machine with other work to do: less load, and times may be that much longer",
        "1",
      )
      .option("--keep", "keep the site's folder afterwards")
      .option("--json", "as JSON: one line at the end")
      .addHelpText(
        "after",
        `\nFaults: ${one.faults.join("; ")}.\nExit codes: 0 all promises held, 1 one broke, 2 could not run.\n\nExamples:\n  skerry drill ${one.name}\n  skerry drill ${one.name} --seed 7 --json`,
      )
      .action((flags: Flags) => run(one, flags, context));
  }
}

async function run(drill: Drill, flags: Flags, context: Context): Promise<void> {
  const inner = guardedBy(context.env);
  try {
    await runHere(drill, flags, context, inner);
  } finally {
    // The guard waits for this process; a connection to a machine that was frozen may hold it for long.
    if (inner) setImmediate(() => process.exit());
  }
}

async function runHere(
  drill: Drill,
  flags: Flags,
  context: Context,
  inner: Guarded | undefined,
): Promise<void> {
  const { output, clock, random } = context;
  const seed = flags.seed === undefined ? random.integer(1_000_000) : Number(flags.seed);
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new SkerryError({
      code: "invalid-argument",
      message: `--seed: "${flags.seed}" is not a whole number from 0 on`,
    });
  }
  const slowness = Number(flags.slow);
  if (!(slowness >= 1 && slowness <= 100)) {
    throw new SkerryError({
      code: "invalid-argument",
      message: `--slow: "${flags.slow}" is not a number from 1 to 100`,
    });
  }
  const forMs = parseDurationMs(flags.for ?? "", "--for");
  if (!inner && drill.needs !== "nothing") {
    const outcome = await runAsObserver({ clock, signal: context.stop() });
    if (outcome.state === "ended") {
      process.exitCode = outcome.code;
      return;
    }
    if (drill.needs === "links") throw outcome.reason;
    output.note(`${explain(outcome.reason)}; on loopback addresses instead, where no link is cut`);
  }
  const network = inner?.network ?? loopbackNetwork(20 + (seed % 200));
  const dir = mkdtempSync(join(tmpdir(), "skerry-drill-"));
  const startedMs = clock.monotonicMs();
  const progress = (text: string) =>
    output.note(`${((clock.monotonicMs() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${text}`);
  output.note(`drill ${drill.name}, seed ${seed}, site in ${dir}`);
  let report: DrillReport;
  try {
    report = await drill.run({
      seed,
      forMs,
      slowness,
      dir,
      network,
      clock,
      random,
      signal: inner ? AbortSignal.any([inner.signal, context.stop()]) : context.stop(),
      progress,
    });
  } catch (error) {
    output.note(`the site's folder is kept for a look: ${dir}`);
    const hint = error instanceof SkerryError ? error.hint : undefined;
    throw new SkerryError({
      code: "drill-not-run",
      message: `${drill.name} could not run to its end`,
      ...(hint === undefined ? {} : { hint }),
      cause: error,
    });
  }
  if (flags.json) output.line(JSON.stringify(report));
  else describe(report, context);
  if (report.ok && !flags.keep) rmSync(dir, { recursive: true, force: true });
  else
    output.note(
      `the site's folder is kept: ${dir}; the same again: ${sameAgain(drill, seed, flags)}`,
    );
  process.exitCode = report.ok ? 0 : 1;
}

/** Everything that decides what happens and what is asked. */
function sameAgain(drill: Drill, seed: number, flags: Flags): string {
  const slow = flags.slow === undefined || flags.slow === "1" ? "" : ` --slow ${flags.slow}`;
  return `skerry drill ${drill.name} --seed ${seed} --for ${flags.for}${slow}`;
}

function describe(report: DrillReport, { output }: Context): void {
  const rows = report.promises.map(({ ok, id, text, measured, limit, unit }) => [
    ok ? "held" : "BROKE",
    id,
    text,
    measured === Number.MAX_SAFE_INTEGER ? "never" : `${measured}`,
    `${limit}`,
    unit,
  ]);
  output.line(
    renderTable(["", "ID", "PROMISE", "MEASURED", "LIMIT", "UNIT"], rows, {
      tabs: !output.isTerminal,
    }),
  );
  output.line("");
  for (const { atMs, fault, recoveredMs } of report.faults) {
    output.line(
      `${(atMs / 1000).toFixed(1).padStart(6)} s  ${fault}${recoveredMs === undefined ? "" : `: back after ${recoveredMs} ms`}`,
    );
  }
  const { sent, failed, p50Ms, p99Ms, availability } = report.load;
  // A simulation asks nothing of anybody.
  if (sent > 0)
    output.line(
      `\n${sent} requests, ${failed} failed, p50 ${p50Ms} ms, p99 ${p99Ms} ms, availability ${availability.toFixed(6)}`,
    );
  output.line(
    `${report.data.acknowledged} entries acknowledged, ${report.data.lost} lost, ${report.data.duplicated} duplicated`,
  );
  output.line(report.ok ? "all promises held" : "a promise broke");
}
