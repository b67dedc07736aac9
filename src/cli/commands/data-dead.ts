import type { Command } from "commander";
import type { Context } from "../context.ts";
import { dataDirOf, dataFlag, dataFlagText } from "../data-dir.ts";
import { callJson, openLocalApi } from "../local-api.ts";
import { renderTable } from "../output.ts";

type Flags = { data?: string; json?: boolean };
type RetryFlags = Flags & { code?: string; stream?: string; source?: string };

/** One of `GET /v1/dead-letters`. */
type Letter = {
  id: number;
  atMs: number;
  source: string;
  code: string;
  message: string;
  sender?: string;
  topic?: string;
  stream?: string;
  bytes: number;
  retryable: boolean;
};

/** What a node refused lately, and taking it after all. */
export function registerDead(data: Command, context: Context): void {
  const dead = data
    .command("dead")
    .description("what this node refused lately and why; what its sender was not told it has")
    .addHelpText(
      "after",
      "\nExamples:\n  skerry data dead list\n  skerry data dead retry --code stream-unknown",
    );

  dead
    .command("list")
    .description("the latest refused messages, newest first; what they held only their senders see")
    .option(dataFlag, dataFlagText)
    .option("--json", "one JSON object a line")
    .addHelpText("after", "\nExamples:\n  skerry data dead list\n  skerry data dead list --json")
    .action((flags: Flags) =>
      withApi(flags, context, async (call) => {
        const { letters, counts, more } = await call<{
          letters: Letter[];
          counts: Record<string, number>;
          more: number;
        }>("/v1/dead-letters", "GET");
        if (more > 0) context.output.note(`the latest ${letters.length}; ${more} older are kept`);
        if (flags.json) {
          for (const letter of letters) context.output.line(JSON.stringify(letter));
          return;
        }
        if (letters.length === 0) return context.output.line("nothing was refused");
        const header = ["ID", "AT", "SOURCE", "TO", "SENDER", "BYTES", "RETRY", "CODE", "WHY"];
        const rows = letters.map((letter) => [
          ...[String(letter.id), new Date(letter.atMs).toISOString(), letter.source],
          ...[letter.topic ?? letter.stream ?? "", nameOf(letter.sender), String(letter.bytes)],
          ...[letter.retryable ? "yes" : "no", letter.code, letter.message],
        ]);
        context.output.line(renderTable(header, rows, { tabs: !context.output.isTerminal }));
        const all = Object.entries(counts).map(([code, count]) => `${count} ${code}`);
        context.output.note(`since the agent started: ${all.join(", ")}`);
      }),
    );

  dead
    .command("retry [id]")
    .description("take refused messages after all, each under its sender's authority")
    .option(dataFlag, dataFlagText)
    .option("--code <code>", "only what was refused with this code")
    .option("--stream <name>", "only what was for this stream")
    .option("--source <source>", "only what came by mqtt, http or host")
    .option("--json", "the outcome as JSON")
    .addHelpText(
      "after",
      "\nFirst mend the reason: declare the stream, or let the sender write to it. What is refused\nagain stays in the list. It goes on for ten seconds; how much is not tried by then is said, and is\nfor the next time. The letters outlive the agent; 1000 are kept, 4 MiB of them whole.\n\nExamples:\n  skerry data dead retry\n  skerry data dead retry 17\n  skerry data dead retry --code stream-unknown --stream scales",
    )
    .action((id: string | undefined, flags: RetryFlags) =>
      withApi(flags, context, async (call) => {
        const { code, stream, source } = flags;
        const wanted = Object.entries({ id, code, stream, source }).filter(
          (pair): pair is [string, string] => pair[1] !== undefined,
        );
        // A node of an earlier version tries all, and says of none that it is left.
        const answer = await call<
          Record<"stored" | "refused" | "skipped", number> & { left?: number }
        >(`/v1/dead-letters/retry?${new URLSearchParams(wanted)}`, "POST");
        const { stored, refused, skipped, left = 0 } = answer;
        if (flags.json) context.output.line(JSON.stringify(answer));
        else if (stored + refused + skipped + left === 0) context.output.line("no such letter");
        else
          context.output.line(
            [
              `${stored} stored`,
              ...(refused > 0 ? [`${refused} refused again: skerry data dead list`] : []),
              ...(skipped > 0 ? [`${skipped} cannot be taken as they are`] : []),
              ...(left > 0 ? [`${left} not yet: run it again`] : []),
            ].join(", "),
          );
        if (refused + left > 0) process.exitCode = 1;
      }),
    );
}

/** The last part of a SPIFFE id, or an address. */
const nameOf = (sender = ""): string => sender.split("/").slice(3).join("/") || sender;

async function withApi(
  flags: Flags,
  context: Context,
  work: (call: <T>(path: string, method: "GET" | "POST") => Promise<T>) => Promise<void>,
): Promise<void> {
  const api = await openLocalApi(dataDirOf(flags.data, context), context);
  try {
    await work((path, method) => callJson(api, path, { method }));
  } finally {
    await api.close();
  }
}
