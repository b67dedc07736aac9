/**
 * Entries: files that run on import and are never imported. They are started here and only here,
 * because `tsc` does not rewrite `new URL("./x.entry.ts", import.meta.url)`: the ending follows the
 * file that asks (`.ts` in development, `.js` from `dist/`).
 */
import { spawn, type ChildProcess, type StdioOptions } from "node:child_process";
import { fileURLToPath } from "node:url";

/** `entryUrl(import.meta.url, "./storage.entry")` */
export function entryUrl(fromUrl: string, relative: string): URL {
  const ending = fromUrl.endsWith(".ts") ? ".ts" : ".js";
  return new URL(`${relative}${ending}`, fromUrl);
}

export type StartEntryOptions = {
  readonly args?: readonly string[];
  /** Flags of Node itself. */
  readonly nodeArgs?: readonly string[];
  /** Added to what every Skerry process inherits. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** In a session of its own: outlives this process and its terminal. */
  readonly detached?: boolean;
  readonly stdio?: StdioOptions;
  readonly cwd?: string;
  /** Turns the command line into one that runs it elsewhere, such as in another namespace. */
  readonly on?: (argv: readonly string[]) => readonly string[];
};

/** Starts an entry as a Node process of the same binary that runs this one. */
export function startEntry(url: URL, options: StartEntryOptions = {}): ChildProcess {
  const argv = [
    process.execPath,
    "--disable-warning=ExperimentalWarning",
    ...(options.nodeArgs ?? []),
    fileURLToPath(url),
    ...(options.args ?? []),
  ];
  const [file = "", ...args] = options.on?.(argv) ?? argv;
  const child = spawn(file, args, {
    env: { ...process.env, ...options.env },
    detached: options.detached ?? false,
    stdio: options.stdio ?? ["ignore", "inherit", "inherit"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  if (options.detached) child.unref();
  return child;
}

/** Resolves with how the process ended; at once when it already has. */
export function exited(
  child: ChildProcess,
): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve({ code: child.exitCode, signal: child.signalCode });
  }
  return new Promise((resolve, reject) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
    child.once("error", reject);
  });
}
