import type { Command } from "commander";
import { examineHost, hubFindings, timerFindings, type Finding } from "../../agent/index.ts";
import type { CellStatus, LedgerTimersView } from "../../api/index.ts";
import { explain } from "../../lib/errors.ts";
import { hasAccess, isNodeFolder } from "../../runtime/local/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { callJson, openLocalApi, withAdminApi } from "../local-api.ts";
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
    .action(async (flags: { data?: string; json?: boolean }) => {
      const { output, env, clock } = context;
      const dataDir = dataDirOf(flags.data, context);
      const findings = [
        ...examineHost({ dataDir, clock, searchPath: env["PATH"] ?? "" }),
        ...(await ledgerTimers(dataDir)),
        ...(await wayToHub(dataDir, context)),
      ];
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

/** Of a server: what its agent measured of the ledger's members, and chose. Elsewhere nothing. */
async function ledgerTimers(dataDir: string): Promise<readonly Finding[]> {
  if (!isNodeFolder(dataDir) || !hasAccess(dataDir)) return [];
  try {
    return timerFindings(
      await withAdminApi(dataDir, (api) =>
        callJson<LedgerTimersView>(api, "/skerry/v1/ledger-timers"),
      ),
    );
  } catch (error) {
    return [
      {
        check: "ledger timers",
        state: "limited",
        found: `not known: ${explain(error)}`,
        meaning:
          "disks and paths of the ledger's members are measured by the agents while they run",
        mend: `skerry up --data ${dataDir}`,
      },
    ];
  }
}

/** Of a node: what its agent last saw on the way to its hub. */
async function wayToHub(dataDir: string, context: Context): Promise<readonly Finding[]> {
  if (!isNodeFolder(dataDir)) return [];
  try {
    const api = await openLocalApi(dataDir, context);
    const { nodes, seenFrom } = await callJson<CellStatus>(api, "/v1/status").finally(() =>
      api.close(),
    );
    const report = nodes.find(({ name }) => name === seenFrom)?.report;
    return report ? hubFindings(report.hub) : [];
  } catch (error) {
    return [
      {
        check: "hub",
        state: "limited",
        found: `not known: ${explain(error)}`,
        meaning: "the way to the hub is seen by the agent while it runs",
        mend: `skerry up --data ${dataDir}`,
      },
    ];
  }
}
