import type { Command } from "commander";
import { SkerryError } from "../../lib/errors.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { callJson, openLocalApi, type LocalApi } from "../local-api.ts";
import { renderTable } from "../output.ts";

type Flags = { data?: string; json?: boolean };
type ShowFlags = Flags & { scope?: string };

/** As the gateway tells it; of the cell with `scope`, `holder` and `positions`. */
type Group = {
  readonly stream: string;
  readonly group: string;
  readonly lag: number;
  readonly underWay: number;
  readonly members: readonly string[];
  readonly position?: string;
  readonly scope?: "cell";
  readonly holder?: string | null;
  readonly positions?: Readonly<Record<string, number>>;
};

const folders = { node: "groups", cell: "cell-groups" } as const;
type Scope = keyof typeof folders;

/** Consumer groups as this node sees them. */
export function registerGroups(data: Command, context: Context): void {
  const groups = data
    .command("groups")
    .description("consumer groups of streams: who holds them, and what they have not acknowledged")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry data groups list\n  skerry data groups show telemetry billing",
    );

  groups
    .command("list [stream]")
    .description("the groups of this node and those of the cell, of all streams or of one")
    .option(dataFlag, dataFlagText)
    .option("--json", "one JSON object a line")
    .addHelpText(
      "after",
      "\nLAG counts the entries in the store of this node that are not acknowledged. Groups of the cell\nare read from the ledger: without a quorum only those of the node are listed.\n\nExamples:\n  skerry data groups list\n  skerry data groups list telemetry --json",
    )
    .action((stream: string | undefined, flags: Flags) =>
      withNode(flags, context, async (api) => {
        const { groups: found, failure } = await listed(api, stream);
        const { output } = context;
        if (flags.json) for (const group of found) output.line(JSON.stringify(group));
        else if (found.length > 0) {
          const header = ["STREAM", "GROUP", "SCOPE", "HOLDER", "LAG", "UNDER WAY", "MEMBERS"];
          const rows = found.map(({ stream: of, group, lag, underWay, members, ...more }) => [
            ...[of, group, more.scope ?? "node", more.scope ? (more.holder ?? "nobody") : "here"],
            ...[String(lag), String(underWay), members.join(",")],
          ]);
          output.line(renderTable(header, rows, { tabs: !output.isTerminal }));
        } else if (!failure) output.line("no consumer groups");
        if (!failure) return;
        output.note(`groups of the cell are not known now: ${failure.message}`);
        process.exitCode = 1;
      }),
    );

  groups
    .command("show <stream> <group>")
    .description("one group, with its position")
    .option("--scope <scope>", "node or cell, where both have one of this name")
    .option(dataFlag, dataFlagText)
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry data groups show telemetry billing\n  skerry data groups show telemetry billing --scope cell --json",
    )
    .action((stream: string, name: string, flags: ShowFlags) =>
      withNode(flags, context, async (api) => {
        const group = await shown(api, { stream, name }, scopeOf(flags.scope));
        const { output } = context;
        if (flags.json) return output.line(JSON.stringify(group));
        const { positions, position, ...rest } = group;
        const lines = [
          ["scope", rest.scope ?? "node"],
          ...(rest.scope ? [["holder", rest.holder ?? "nobody"]] : []),
          ["lag", String(rest.lag)],
          ["under way", String(rest.underWay)],
          ["members", rest.members.join(",")],
          ...(position === undefined ? [] : [["position", position]]),
          ...Object.entries(positions ?? {}).map(([origin, at]) => [`up to ${origin}`, String(at)]),
        ];
        output.line(
          renderTable([`${rest.stream}/${rest.group}`, ""], lines, { tabs: !output.isTerminal }),
        );
      }),
    );
}

const pathOf = (stream: string, scope: Scope) =>
  `/v1/streams/${encodeURIComponent(stream)}/${folders[scope]}`;

/** Those of the node always; `failure`: those of the cell are not known. */
async function listed(
  api: LocalApi,
  wanted: string | undefined,
): Promise<{ groups: readonly Group[]; failure?: SkerryError }> {
  const streams = wanted
    ? [wanted]
    : (
        await callJson<{ streams: readonly { readonly name: string }[] }>(api, "/v1/streams")
      ).streams.map(({ name }) => name);
  const groups: Group[] = [];
  let failure: SkerryError | undefined;
  for (const stream of streams) {
    groups.push(...(await groupsOf(api, stream, "node")));
    if (failure) continue;
    try {
      groups.push(...(await groupsOf(api, stream, "cell")));
    } catch (error) {
      if (!(error instanceof SkerryError && error.retryable)) throw error;
      failure = error;
    }
  }
  return { groups, ...(failure ? { failure } : {}) };
}

/** Throws `group-unknown`, and `invalid-argument` where the name alone does not say which. */
async function shown(
  api: LocalApi,
  { stream, name }: { stream: string; name: string },
  scope: Scope | undefined,
): Promise<Group> {
  const found: Group[] = [];
  for (const one of scope ? [scope] : (["node", "cell"] as const))
    found.push(...(await groupsOf(api, stream, one)).filter(({ group }) => group === name));
  const [group, other] = found;
  if (group && !other) return group;
  throw new SkerryError(
    group
      ? {
          code: "invalid-argument",
          message: `"${name}" is a group of this node and one of the cell`,
          hint: "say which: --scope node, or --scope cell",
        }
      : {
          code: "group-unknown",
          message: `stream ${stream} has no consumer group "${name}"${scope ? ` of the ${scope}` : ""}`,
          hint: `skerry data groups list ${stream} shows what there is`,
        },
  );
}

const groupsOf = async (api: LocalApi, stream: string, scope: Scope): Promise<readonly Group[]> =>
  (await callJson<{ groups: readonly Group[] }>(api, pathOf(stream, scope))).groups;

function scopeOf(given: string | undefined): Scope | undefined {
  if (given === undefined || given === "node" || given === "cell") return given;
  throw new SkerryError({
    code: "invalid-argument",
    message: `--scope: "${given}" must be node or cell`,
  });
}

async function withNode(
  flags: Flags,
  context: Context,
  work: (api: LocalApi) => Promise<void>,
): Promise<void> {
  const dataDir = dataDirOf(flags.data, context);
  if (isHubFolder(dataDir))
    throw new SkerryError({
      code: "invalid-argument",
      message: `--data: ${dataDir} is a hub's, and consumer groups are of nodes`,
      hint: "name the data folder of a node",
    });
  const api = await openLocalApi(dataDir, context);
  try {
    await work(api);
  } finally {
    await api.close();
  }
}
