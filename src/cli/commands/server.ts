/** Which nodes hold the ledger, and more or fewer of them. */
import { resolve } from "node:path";
import type { Command } from "commander";
import type { ServersView, WitnessBundle } from "../../api/index.ts";
import { writeFileAtomic } from "../../runtime/files/index.ts";
import { formatBytes } from "../../lib/duration.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { callJson, withAdminApi } from "../local-api.ts";
import { renderTable } from "../output.ts";
import { changeServers, serversPath, type ServerChange } from "../server-changes.ts";

type Flags = { data?: string; json?: boolean; with?: string };
type BundleFlags = { data?: string; out?: string; json?: boolean };

export function registerServer(program: Command, context: Context): void {
  const server = program
    .command("server")
    .description("the nodes that hold the cell's ledger: one, or three so that any one may be lost")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  skerry server list\n" +
        "  skerry server add n2 n3          from one server to three\n" +
        "  skerry server replace n2         its machine was wiped, or exchanged under the same name\n" +
        "  skerry server add-witness w1 --address 192.168.8.20:7447 > w1.witness\n" +
        "                                   two servers and any small box: the loss of any one is survived",
    );
  const command = (name: string, description: string, example: string) =>
    server
      .command(name)
      .description(description)
      .option(dataFlag, dataFlagText)
      .option("--json", "as JSON")
      .addHelpText("after", `\nExample:\n  ${example}`);

  registerWitnesses(server, context);
  command("list", "the servers, who leads, and what may be lost", "skerry server list").action(
    async (flags: Flags) => {
      const view = await withAdminApi(dataDirOf(flags.data, context), (api) =>
        callJson<ServersView>(api, serversPath),
      );
      context.output.line(flags.json ? JSON.stringify(view) : render(view, context));
    },
  );
  command(
    "add <node...>",
    "make nodes servers, one after the other; their pods run on",
    "skerry server add n2 n3",
  ).action((nodes: string[], flags: Flags) =>
    change(
      nodes.map((node) => ({ verb: "add", node })),
      flags,
      context,
    ),
  );
  command(
    "remove <node...>",
    "make servers workers; dead ones are taken off the ledger",
    "skerry server remove n3",
  ).action((nodes: string[], flags: Flags) =>
    change(
      nodes.map((node) => ({ verb: "remove", node })),
      flags,
      context,
    ),
  );
  command(
    "replace <node>",
    "put another machine in a server's place",
    "skerry server replace n2 --with n4",
  )
    .option("--with <node>", "the node that takes its place; default: one of the same name")
    .action((node: string, flags: Flags) =>
      change([{ verb: "replace", node, by: flags.with ?? node }], flags, context),
    );
  command(
    "move-leader <node>",
    "let this server lead the ledger, before work on the one that does",
    "skerry server move-leader n2",
  ).action((node: string, flags: Flags) => change([{ verb: "move-leader", node }], flags, context));
}

function registerWitnesses(server: Command, context: Context): void {
  const bundle = async (request: { name: string; address?: string }, flags: BundleFlags) => {
    const { output, cwd } = context;
    const made = await withAdminApi(dataDirOf(flags.data, context), (api) =>
      callJson<WitnessBundle>(api, `${serversPath}/witnesses`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(request),
      }),
    );
    const text = JSON.stringify(made, undefined, flags.json ? 0 : 2);
    if (flags.out !== undefined) writeFileAtomic(resolve(cwd, flags.out), `${text}\n`);
    if (flags.out === undefined) output.line(text);
    else if (flags.json)
      output.line(JSON.stringify({ ok: true, name: made.name, file: flags.out }));
    const file = flags.out ?? `${made.name}.witness`;
    output.note(`the bundle holds the witness's key, good until ${day(made.notAfterMs)}`);
    return { made, file };
  };
  server
    .command("add-witness <name>")
    .description(
      "a member that only votes, on any small box: two servers survive the loss of any one",
    )
    .requiredOption("--address <host:port>", "where the cell's servers reach it; it calls nobody")
    .option("--out <file>", "write the bundle there, mode 0600, instead of to standard output")
    .option("--json", "the bundle, or what was written, on one line")
    .option(dataFlag, dataFlagText)
    .addHelpText(
      "after",
      "\nOrder: two servers first (skerry server add n2), then the witness; it votes as soon as it\n" +
        "runs and has caught up. Best on site; beside the hub a cut WAN counts as its loss.\n" +
        "\nExample:\n  skerry server add-witness w1 --address 192.168.8.20:7447 > w1.witness\n" +
        "  then on that box: skerry witness run w1.witness",
    )
    .action(async (name: string, flags: BundleFlags & { address: string }) => {
      const { made, file } = await bundle({ name, address: flags.address }, flags);
      context.output.note(
        `bring it to ${made.address.host} and start it there: skerry witness run ${file}; the servers call it at port ${made.address.port}`,
      );
    });
  server
    .command("renew-witness <name>")
    .description("a new bundle, with a new certificate, for a witness that is there")
    .option("--out <file>", "write the bundle there, mode 0600, instead of to standard output")
    .option("--json", "the bundle, or what was written, on one line")
    .option(dataFlag, dataFlagText)
    .addHelpText("after", "\nExample:\n  skerry server renew-witness w1 > w1.witness")
    .action(async (name: string, flags: BundleFlags) => {
      const { made, file } = await bundle({ name }, flags);
      context.output.note(
        `bring it to ${made.address.host}: skerry witness renew ${file}; nothing restarts`,
      );
    });
}

const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);

async function change(
  changes: readonly ServerChange[],
  flags: Flags,
  context: Context,
): Promise<void> {
  const { output } = context;
  const messages = await withAdminApi(dataDirOf(flags.data, context), (api) =>
    changeServers(api, changes, context),
  );
  output.line(flags.json ? JSON.stringify({ ok: true, changes }) : messages.join("\n"));
}

function render({ servers, words, quorum }: ServersView, { output }: Context): string {
  const table = renderTable(
    ["SERVER", "STATE", "LEDGER", "VERSION", "SIZE"],
    servers.map(({ name, kind, state, address, version, bytes }) => [
      kind === "witness" ? `${name} (witness)` : name,
      state,
      address ?? "SQLite",
      version ?? "",
      bytes === undefined ? "" : formatBytes(bytes),
    ]),
    { tabs: !output.isTerminal },
  );
  const lost =
    quorum === "held" ? [] : ["Quorum is lost: nothing can be changed until a majority answers."];
  const due = servers.flatMap(({ name, leaf }) =>
    leaf?.isDue
      ? [
          `The certificate of ${name} ends on ${day(leaf.notAfterMs)}: skerry server renew-witness ${name}.`,
        ]
      : [],
  );
  // A name is written as it is.
  const isNameFirst = servers.some(({ name }) => name === /^[^ ,]*/.exec(words)?.[0]);
  const first = isNameFirst ? words.slice(0, 1) : words.slice(0, 1).toUpperCase();
  return [table, "", ...lost, ...due, `${first}${words.slice(1)}.`].join("\n");
}
