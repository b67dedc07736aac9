import type { Command } from "commander";
import { examineHost } from "../../agent/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { renderTable } from "../output.ts";

export function registerDoctor(program: Command, context: Context): void {
  program
    .command("doctor")
    .description("what this host lacks, what that means, and how to mend it; changes nothing")
    .option(dataFlag, dataFlagText)
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 Skerry runs here, 2 something it cannot do without is missing.\n\nExample:\n  skerry doctor",
    )
    .action((flags: { data?: string; json?: boolean }) => {
      const { output, env, clock } = context;
      const findings = examineHost({
        dataDir: dataDirOf(flags.data, context),
        clock,
        searchPath: env["PATH"] ?? "",
      });
      if (flags.json) output.line(JSON.stringify(findings));
      else {
        const rows = findings.map(({ check, state, found }) => [check, state, found]);
        output.line(renderTable(["CHECK", "STATE", "FOUND"], rows, { tabs: !output.isTerminal }));
        for (const { check, meaning, mend } of findings) {
          if (meaning !== undefined)
            output.line(
              `\n${check}: ${meaning}${mend === undefined ? "" : `\n  mend it with: ${mend}`}`,
            );
        }
      }
      if (findings.some(({ state }) => state === "missing")) process.exitCode = 2;
    });
}
