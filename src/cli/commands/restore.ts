import type { Command } from "commander";
import { planRestore, restoreCell, type Restored, type RestorePlan } from "../../agent/index.ts";
import { formatDuration } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { renderTable } from "../output.ts";
import { keyText } from "./backup.ts";

type Flags = {
  data?: string;
  key?: string;
  node?: string;
  host?: string;
  yes?: boolean;
  json?: boolean;
};

export function registerRestore(program: Command, context: Context): void {
  program
    .command("restore <backup>")
    .description(
      "make a backup into a server of its cell: in a new folder, on its stopped server, or on a stopped worker",
    )
    .option(dataFlag, dataFlagText)
    .option("--key <file>", "recovery key; a server of the cell has its own")
    .option(
      "--node <name>",
      "new folder: name of this machine (default: of the server that made the backup)",
    )
    .option("--host <ip>", "address of this machine (default: as before)")
    .option("--yes", "do it; without this nothing is changed, and what would happen is told")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  skerry restore latest                      the server of a cell, stopped, from its own newest backup: what would happen\n" +
        "  skerry restore latest --yes                and done\n" +
        "  skerry restore mill-20260131T080000Z-r4711.age --key mill.key --data /var/lib/skerry --yes\n" +
        "                                             a new machine in the place of the lost one; then: skerry up\n" +
        "\nThe ledger that was there is moved aside, never removed. Exit code 2: --yes was not given.",
    )
    .action((backup: string, flags: Flags) => run(backup, flags, context));
}

async function run(backup: string, flags: Flags, context: Context): Promise<void> {
  const { output, clock, random } = context;
  const plan = await planRestore(
    { clock, random },
    {
      dataDir: dataDirOf(flags.data, context),
      backup,
      key: keyText(flags.key, context),
      node: flags.node,
      host: flags.host,
    },
  );
  if (!flags.json) tell(plan, context);
  if (!flags.yes) {
    throw new SkerryError({
      code: "confirmation-needed",
      message: `nothing was changed in ${plan.dataDir}`,
      hint: "run it again with --yes to do this",
      details: { backup: plan.manifest.id, steps: plan.steps },
    });
  }
  output.progress(`restoring ${plan.manifest.ledger.keys} keys …`);
  const restored = await restoreCell({ clock, random }, plan);
  output.endProgress();
  if (flags.json) output.line(JSON.stringify(summary(restored)));
  else report(restored, plan, context);
}

function tell({ manifest, steps, dataDir }: RestorePlan, { output }: Context): void {
  output.line(`backup ${manifest.id} into ${dataDir}:`);
  for (const step of steps) output.line(`  - ${step}`);
}

const summary = ({ manifest, epoch, revision, record, aside }: Restored) => ({
  backup: manifest.id,
  cell: manifest.cell,
  node: record.node,
  keys: manifest.ledger.keys,
  countByKind: manifest.ledger.countByKind,
  backupRevision: manifest.ledger.revision,
  revision,
  epoch,
  ...(aside === undefined ? {} : { aside }),
});

function report(restored: Restored, plan: RestorePlan, { output, clock }: Context): void {
  const { manifest, revision, epoch, record, aside } = restored;
  const rows = Object.entries(manifest.ledger.countByKind)
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([kind, count]) => [kind, `${count}`]);
  output.line(renderTable(["RESTORED", "COUNT"], rows, { tabs: !output.isTerminal }));
  const ageMs = Math.max(0, clock.wallMs() - manifest.atMs);
  output.line(
    `as of ${new Date(manifest.atMs).toISOString()}, ${formatDuration(ageMs)} ago: revision ${manifest.ledger.revision}; history goes on at ${revision}, epoch ${epoch}`,
  );
  if (aside !== undefined) output.line(`the ledger that was here: ${aside}`);
  output.line(
    `next: skerry up --data ${plan.dataDir}   starts ${record.node}; nodes of the cell find it by themselves`,
  );
}
