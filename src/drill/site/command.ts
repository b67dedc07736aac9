/** Runs the `skerry` command as a person would: a process, its output, its exit code. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { SkerryError } from "../../lib/errors.ts";
import { environment } from "../../runtime/process/index.ts";

const launcher = fileURLToPath(new URL("../../../bin/skerry.mjs", import.meta.url));

export type CommandOutcome = {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

export type CommandOptions = {
  readonly signal?: AbortSignal;
  /** Added to what this process has. */
  readonly env?: Readonly<Record<string, string>>;
  /** Turns a command line into one that runs it on another machine. */
  readonly on?: (argv: readonly string[]) => readonly string[];
};

export function runSkerry(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandOutcome> {
  return new Promise((resolve, reject) => {
    const own = [process.execPath, launcher, ...args];
    const [file = "", ...rest] = options.on ? options.on(own) : own;
    const child = spawn(file, rest, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...environment, ...options.env },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
}

/** The last line of `--json` output. Throws `drill-step-failed` with what the command said. */
export async function skerryJson<T>(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<T> {
  const { code, stdout, stderr } = await runSkerry([...args, "--json"], options);
  const last = stdout.trim().split("\n").at(-1) ?? "";
  if (code !== 0) {
    throw new SkerryError({
      code: "drill-step-failed",
      message: `skerry ${args.join(" ")} ended with ${code}: ${(stderr.trim() || last).slice(-2000)}`,
    });
  }
  return JSON.parse(last) as T;
}
