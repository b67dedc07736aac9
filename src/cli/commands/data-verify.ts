import type { Command } from "commander";
import { decodeError, SkerryError, type EncodedError } from "../../lib/errors.ts";
import { isHubFolder } from "../../runtime/local/index.ts";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { linesOf } from "../entry-lines.ts";
import { call, openLocalApi } from "../local-api.ts";
import { renderTable } from "../output.ts";

type Flags = { data?: string; with?: string[]; json?: boolean };

type State = "equal" | "different" | "undecided";
type Difference = {
  id?: string;
  only?: string;
  fields?: string[];
  origin?: string;
  from?: number;
  to?: number;
  on?: string;
  damaged?: string;
};
type Compared = {
  kind: string;
  name: string;
  with: string;
  state: State;
  items: number;
  differences: Difference[];
  more: boolean;
  reason?: string;
  newer?: number;
  older?: number;
};
type Line =
  | { event: "progress"; kind: string; name: string; store: string; seen: number; of: number }
  | ({ event: "compared" } & Compared)
  | { event: "end"; state: State }
  | { event: "failed"; error: EncodedError };

export function registerVerify(data: Command, context: Context): void {
  data
    .command("verify [names...]")
    .description(
      "prove that this node's collections and streams equal those of others, or name what differs",
    )
    .option(
      "--with <store>",
      "a node, or hub; more than once (default: all)",
      (store, before: string[] = []) => [...before, store],
    )
    .option(dataFlag, dataFlagText)
    .option("--json", "each comparison as a line of JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 all equal, 1 something differs, 2 something could not be decided.\n\nExamples:\n  skerry data verify\n  skerry data verify items readings --with hub\n  skerry data verify --json",
    )
    .action((names: string[], flags: Flags) => run(names, flags, context));
}

const exitCodes = { equal: 0, different: 1, undecided: 2 } as const satisfies Record<State, number>;

async function run(names: string[], flags: Flags, context: Context): Promise<void> {
  const { output } = context;
  const dataDir = dataDirOf(flags.data, context);
  if (isHubFolder(dataDir)) {
    throw new SkerryError({
      code: "invalid-argument",
      message: "--data: a hub does not ask cells for what they hold",
      hint: "run it on a node of the cell; --with hub compares that node with this hub",
    });
  }
  const api = await openLocalApi(dataDir, context);
  try {
    const answer = await call(api, "/v1/data/verify", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        ...(names.length > 0 ? { names } : {}),
        ...(flags.with === undefined ? {} : { with: flags.with }),
      }),
    });
    const compared: Compared[] = [];
    let state: State | undefined;
    for await (const text of linesOf(answer)) {
      const line = JSON.parse(text) as Line;
      if (line.event === "failed") throw decodeError(line.error);
      if (line.event === "progress")
        output.progress(`${line.kind} ${line.name} on ${line.store}: ${line.seen} of ${line.of}`);
      else if (flags.json) output.line(text);
      else if (line.event === "compared") compared.push(line);
      if (line.event === "end") ({ state } = line);
    }
    output.endProgress();
    if (state === undefined)
      throw new SkerryError({
        code: "not-answering",
        message: "the node ended before it had compared everything",
        hint: "run it again",
        retryable: true,
      });
    if (!flags.json) show(compared, state, context);
    process.exitCode = exitCodes[state];
  } finally {
    output.endProgress();
    await api.close();
  }
}

function show(compared: readonly Compared[], state: State, { output }: Context): void {
  const rows = compared.map((line) => [
    line.kind,
    line.name,
    line.with,
    line.state,
    String(line.items),
    line.reason ?? "",
  ]);
  const header = ["KIND", "NAME", "WITH", "STATE", "ITEMS", "WHY"];
  output.line(renderTable(header, rows, { tabs: !output.isTerminal }));
  for (const { kind, name, with: other, differences, more } of compared) {
    for (const difference of differences)
      output.line(`${kind} ${name}, with ${other}: ${wordsOf(difference)}`);
    if (more) output.line(`${kind} ${name}, with ${other}: and more`);
  }
  const older = compared.reduce((sum, line) => sum + (line.older ?? 0), 0);
  if (older > 0)
    output.note(`${older} positions of logs were not compared: retention removed them somewhere`);
  if (state === "equal") output.line("all equal");
}

function wordsOf({ id, only, fields, origin, from, to, on, damaged }: Difference): string {
  if (damaged !== undefined) return `damaged on ${on}: ${damaged}`;
  if (origin === undefined)
    return only === undefined
      ? `${id} differs in ${(fields ?? []).map((field) => (field === "" ? "its history" : field)).join(", ")}`
      : `${id} is only on ${only}`;
  const positions = from === to ? `position ${from}` : `positions ${from} to ${to}`;
  return `log ${origin}, ${positions}: ${only === undefined ? "other content" : `only on ${only}`}`;
}
