/** Which nodes hold the ledger, and more or fewer of them. */
import type { Command } from "commander";
import type { ServerProgress, ServersView, ServerVerb } from "../../api/index.ts";
import { formatBytes } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { callJson, openAdminApi, type LocalApi } from "../local-api.ts";
import { renderTable } from "../output.ts";

type Flags = { data?: string; json?: boolean; with?: string };
type Change = { verb: ServerVerb; node: string; by?: string };

const path = "/skerry/v1/servers";
const pollMs = 300;
/** The server that answers may restart its agent on the way. */
const silenceMsMax = 60_000;

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
      const view = await withApi(flags, context, (api) => callJson<ServersView>(api, path));
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

/** Throws `change-refused`, or `change-failed` with what was reached so far kept. */
async function change(changes: readonly Change[], flags: Flags, context: Context): Promise<void> {
  const { output } = context;
  await withApi(flags, context, async (api) => {
    for (const one of changes) {
      await callJson(api, path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(one),
      });
      const { outcome } = await follow(api, one, context);
      if (outcome?.state === "done") {
        if (!flags.json) output.line(outcome.message);
        continue;
      }
      const words = {
        message: outcome?.message ?? `${one.verb} ${one.node} has no outcome`,
        ...(outcome?.hint === undefined ? {} : { hint: outcome.hint }),
      };
      throw outcome?.state === "refused"
        ? new SkerryError({ code: "change-refused", ...words })
        : new SkerryError({ code: "change-failed", ...words });
    }
    if (flags.json) output.line(JSON.stringify({ ok: true, changes }));
  });
}

/** Until it has an outcome; what is new is told as it comes. */
async function follow(api: LocalApi, one: Change, context: Context): Promise<ServerProgress> {
  const { clock, output } = context;
  let told = 0;
  let heardMs = clock.monotonicMs();
  for (;;) {
    try {
      const progress = await callJson<ServerProgress>(api, `${path}/changes/${one.node}`);
      heardMs = clock.monotonicMs();
      for (const line of progress.lines.slice(told)) output.note(`${one.node}: ${line}`);
      told = Math.max(told, progress.lines.length);
      if (progress.outcome) return progress;
    } catch (error) {
      const passes = error instanceof SkerryError && error.retryable;
      if (!passes || clock.monotonicMs() - heardMs > silenceMsMax) throw error;
    }
    await clock.sleep(pollMs);
  }
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
