/** A witness of a cell's ledger, on the machine where it runs: a member that votes, and nothing else. */
import { join, resolve } from "node:path";
import type { Command } from "commander";
import {
  adoptBundle,
  readAdopted,
  readBundle,
  runWitnessHere,
  witnessStatusHere,
} from "../../agent/index.ts";
import { formatBytes } from "../../lib/duration.ts";
import type { Context } from "../context.ts";

type Flags = { data?: string; json?: boolean; listen?: string };

const systemDir = "/var/lib/skerry-witness";
const dataFlag = "--data <dir>";
const dataText = `its folder (default: $SKERRY_DATA, or ${systemDir})`;
const dataDirOf = (flags: Flags, { cwd, env }: Context) =>
  resolve(cwd, flags.data ?? env["SKERRY_DATA"] ?? systemDir);

export function registerWitness(program: Command, context: Context): void {
  const witness = program
    .command("witness")
    .description("a member of a cell's ledger that only votes: etcd alone, on any small box")
    .addHelpText(
      "after",
      "\nThe cell's servers call it; it calls nobody, and needs one port that they reach.\n" +
        "\nExamples:\n" +
        "  skerry server add-witness w1 --address 192.168.8.20:7447 > w1.witness   on a server\n" +
        "  skerry witness run w1.witness                                            on the box",
    );
  witness
    .command("run [bundle]")
    .description("run this machine's witness until Ctrl-C; the bundle is needed once")
    .option(dataFlag, dataText)
    .option(
      "--listen <host:port>",
      "where its calls arrive here, when that is not the address they go to",
    )
    .option("--json", "lines as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  skerry witness run w1.witness --data /var/lib/skerry-witness\n" +
        "  skerry witness run                                       after a reboot: as before\n" +
        "  skerry witness run w1.witness --listen 10.0.0.7:7447     behind a NAT",
    )
    .action((bundle: string | undefined, flags: Flags) => run(bundle, flags, context));
  witness
    .command("renew <bundle>")
    .description("take in a bundle of skerry server renew-witness; a running witness goes on")
    .option(dataFlag, dataText)
    .option("--json", "as JSON")
    .addHelpText("after", "\nExample:\n  skerry witness renew w1.witness")
    .action((bundle: string, flags: Flags) => {
      const renewed = readBundle(resolve(context.cwd, bundle));
      const dataDir = dataDirOf(flags, context);
      readAdopted(dataDir);
      adoptBundle(dataDir, renewed);
      context.output.line(
        flags.json
          ? JSON.stringify({ ok: true, name: renewed.name, notAfterMs: renewed.notAfterMs })
          : `${renewed.name} has a certificate until ${day(renewed.notAfterMs)}`,
      );
    });
  witness
    .command("status")
    .description("whether it votes, how large the ledger is, and how long its certificate is good")
    .option(dataFlag, dataText)
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExit code 1 while it has no vote or hears no leader.\n\nExample:\n  skerry witness status",
    )
    .action((flags: Flags) => status(flags, context));
}

const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);

async function run(bundle: string | undefined, flags: Flags, context: Context): Promise<void> {
  const { output, cwd, env, clock, random } = context;
  const dataDir = dataDirOf(flags, context);
  if (bundle !== undefined) adoptBundle(dataDir, readBundle(resolve(cwd, bundle)));
  const tell = (line: string) =>
    flags.json ? output.line(JSON.stringify({ atMs: clock.wallMs(), line })) : output.note(line);
  tell(`the witness lives in ${dataDir}; etcd's lines stand in ${join(dataDir, "log")}`);
  await runWitnessHere(
    {
      dataDir,
      searchPath: env["PATH"] ?? "",
      ...(flags.listen === undefined ? {} : { listen: flags.listen }),
    },
    { clock, random },
    { tell, signal: context.stop() },
  );
  tell("the witness has stopped; the cell goes on while its servers are well");
}

async function status(flags: Flags, context: Context): Promise<void> {
  const { output } = context;
  const seen = await witnessStatusHere(dataDirOf(flags, context), context);
  const isWell = seen.state === "voter" || seen.state === "leader";
  if (!isWell) process.exitCode = 1;
  if (flags.json) return output.line(JSON.stringify({ ok: isWell, ...seen }));
  const { certificate, ledgerBytes, residentBytes } = seen;
  output.line(`${seen.name} of ${seen.cell}: ${words[seen.state]}`);
  output.line(
    `  called at    ${seen.address}${seen.listen === seen.address ? "" : `, here ${seen.listen}`}`,
  );
  output.line(`  certificate  until ${day(certificate.notAfterMs)}, ${certificate.leftDays} days`);
  if (ledgerBytes !== undefined) output.line(`  ledger       ${formatBytes(ledgerBytes)}`);
  if (residentBytes !== undefined)
    output.line(`  etcd         ${formatBytes(residentBytes)} of memory`);
}

const words = {
  stopped: "it does not run",
  starting: "etcd is starting",
  waiting: "it hears no leader: the servers do not call, or have none",
  learner: "it takes in the ledger, and has no vote yet",
  voter: "it votes",
  leader: "it leads, until a server is heard",
} as const;
