/** Which nodes hold the ledger, and more or fewer of them. */
import type { Command } from "commander";
import type { ServersView } from "../../api/index.ts";
import { formatBytes } from "../../lib/duration.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { callJson, openAdminApi, type LocalApi } from "../local-api.ts";
import { renderTable } from "../output.ts";
import { changeServers, serversPath, type ServerChange } from "../server-changes.ts";

type Flags = { data?: string; json?: boolean; with?: string };

export function registerServer(program: Command, context: Context): void {
  const server = program
    .command("server")
    .description("the nodes that hold the cell's ledger: one, or three so that any one may be lost")
    .addHelpText(
      "after",
      "\nExamples:\n" +
        "  skerry server list\n" +
        "  skerry server add n2 n3          from one server to three\n" +
        "  skerry server replace n2         its machine was wiped, or exchanged under the same name",
    );
  const command = (name: string, description: string, example: string) =>
    server
      .command(name)
      .description(description)
      .option(dataFlag, dataFlagText)
      .option("--json", "as JSON")
      .addHelpText("after", `\nExample:\n  ${example}`);

  command("list", "the servers, who leads, and what may be lost", "skerry server list").action(
    async (flags: Flags) => {
      const view = await withApi(flags, context, (api) => callJson<ServersView>(api, serversPath));
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

async function withApi<T>(
  flags: Flags,
  context: Context,
  work: (api: LocalApi) => Promise<T>,
): Promise<T> {
  const api = openAdminApi(dataDirOf(flags.data, context));
  try {
    return await work(api);
  } finally {
    await api.close();
  }
}

async function change(
  changes: readonly ServerChange[],
  flags: Flags,
  context: Context,
): Promise<void> {
  const { output } = context;
  const messages = await withApi(flags, context, (api) => changeServers(api, changes, context));
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
  return [table, "", ...lost, `${words[0]?.toUpperCase()}${words.slice(1)}.`].join("\n");
}
