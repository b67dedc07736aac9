/** Runs the `skerry` command as a person would: a process, its output, its exit code. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { SkerryError } from "../../lib/errors.ts";

const launcher = fileURLToPath(new URL("../../../bin/skerry.mjs", import.meta.url));

export type CommandOutcome = {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
};

export function runSkerry(
  args: readonly string[],
  options: { cwd?: string; signal?: AbortSignal } = {},
): Promise<CommandOutcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [launcher, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
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
  options: { signal?: AbortSignal } = {},
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
