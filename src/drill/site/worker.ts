/** Load generators and checkers: processes with a configuration file in, a result file out. */
import type { ChildProcess } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import { exited, startEntry } from "../../runtime/child/index.ts";

export type Running<Result> = {
  /** Ends the load and gives its result; for a checker, waits for it. */
  finish(): Promise<Result>;
  /** Ends it without a result; nothing happens when it has ended. */
  abandon(): void;
};

export type WorkerOptions<Config> = {
  readonly dir: string;
  readonly name: string;
  readonly config: Config;
  /** It works until `finish`; otherwise until it is done. */
  readonly untilFinished: boolean;
  /** Turns its command line into one that runs it on another machine. */
  readonly on?: (argv: readonly string[]) => readonly string[];
};

export function startWorker<Config, Result>(
  entry: URL,
  options: WorkerOptions<Config>,
): Running<Result> {
  const configPath = join(options.dir, `${options.name}.config.json`);
  const resultPath = join(options.dir, `${options.name}.result.json`);
  writeFileSync(configPath, JSON.stringify(options.config));
  const child: ChildProcess = startEntry(entry, {
    args: [configPath, resultPath],
    stdio: [options.untilFinished ? "pipe" : "ignore", "inherit", "inherit"],
    ...(options.on === undefined ? {} : { on: options.on }),
  });
  const ended = exited(child);
  // Whoever gave it up does not ask how it ended.
  ended.catch(() => undefined);
  return {
    async finish() {
      child.stdin?.end();
      const { code, signal } = await ended;
      if (code !== 0) {
        throw new SkerryError({
          code: "drill-step-failed",
          message: `${options.name} ended with ${signal ?? code}`,
        });
      }
      return JSON.parse(readFileSync(resultPath, "utf8")) as Result;
    },
    abandon() {
      child.kill("SIGKILL");
    },
  };
}
