/** The `skerry` command: parses, runs one command, turns what was thrown into a sentence and an exit code. */
import { Command, CommanderError } from "commander";
import { encodeError, explain, SkerryError } from "../lib/errors.ts";
import { registerCommands } from "./commands/index.ts";
import { createContext } from "./context.ts";
import { version } from "../runtime/process/index.ts";

/** Errors that are the caller's to mend before anything ran. */
const usageCodes = new Set([
  "invalid-config",
  "invalid-argument",
  "invalid-duration",
  "invalid-size",
  "invalid-token",
  "tool-missing",
  "confirmation-needed",
  // As each drill's help says: 1 is kept for a promise that broke.
  "drill-not-run",
  // A service that started again with it would lock the token.
  "hsm-pin-refused",
]);

const context = createContext();
const program = new Command("skerry")
  .description(
    "Keeps an edge site working when the cloud link, or a machine, is gone.\n" +
      "An agent on every machine forms a cell; a hub in the cloud looks after many cells.",
  )
  .version(version(), "-V, --version")
  .showSuggestionAfterError()
  .showHelpAfterError("(run with --help for the flags and examples)")
  .enablePositionalOptions()
  .addHelpText(
    "after",
    "\nExamples:\n" +
      "  skerry demo                             a hub and a cell of three nodes on this machine\n" +
      "  skerry up --cell shop-12 --node till-1  the first machine of a new cell\n" +
      "  skerry status                           what runs, what is wrong, what is waiting\n" +
      "\nExit codes: 0 done, 1 failed, 2 wrong usage or something missing on this machine.",
  );
await registerCommands(
  program,
  context,
  process.argv.slice(2).find((word) => !word.startsWith("-")),
);

// Errors of usage come back here instead of ending the process inside the library.
const every = (command: Command): Command[] => [command, ...command.commands.flatMap(every)];
for (const command of every(program)) command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const json = process.argv.includes("--json");
  if (json) context.output.line(JSON.stringify({ error: encodeError(error) }));
  else context.output.note(`skerry: ${explain(error)}`);
  if (context.env["SKERRY_DEBUG"] && error instanceof Error) context.output.note(error.stack ?? "");
  return error instanceof SkerryError && usageCodes.has(error.code) ? 2 : 1;
}
