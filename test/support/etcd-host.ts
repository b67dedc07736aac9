/** Holds etcd's processes for a supervisor under test, as the keeper would: they outlive the supervisor. */
import { spawn, type ChildProcess } from "node:child_process";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { EtcdProcessHost, EtcdProcessStatus } from "../../src/ledger/ports.ts";

export interface TestProcessHost extends EtcdProcessHost, AsyncDisposable {
  /** Kills the process behind the supervisor's back. */
  kill(id: string): void;
}

/** `wrap` gives the command line under which each process runs, a slow disk's for instance. */
export function createProcessHost(
  folder: string,
  wrap?: (argv: readonly string[]) => readonly string[],
): TestProcessHost {
  const listeners = new Set<(status: EtcdProcessStatus | undefined) => void>();
  const heldById = new Map<string, { status: EtcdProcessStatus; child: ChildProcess }>();

  const update = (id: string, current: EtcdProcessStatus["current"]) => {
    const held = heldById.get(id);
    if (!held) return;
    held.status = { ...held.status, current };
    for (const listener of listeners) listener(held.status);
  };
  const pidFileOf = (id: string) => join(folder, `${id}.pid`);
  /** To the process itself, not to what it is wrapped in. */
  const send = (id: string, signal: NodeJS.Signals) => {
    const child = heldById.get(id)?.child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    if (wrap) process.kill(Number(readFileSync(pidFileOf(id), "utf8")), signal);
    else child.kill(signal);
  };
  const gone = (child: ChildProcess) =>
    child.exitCode !== null || child.signalCode !== null
      ? Promise.resolve()
      : new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const statusOf = (id: string): EtcdProcessStatus => {
    const held = heldById.get(id);
    if (!held) throw new Error(`no process ${id}`);
    return held.status;
  };

  return {
    async start({ id, argv, env, cwd, labels }) {
      const logDirectory = join(folder, id);
      mkdirSync(logDirectory, { recursive: true });
      const told = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', pidFileOf(id), ...argv];
      const [command = "", ...args] = wrap ? wrap(told) : argv;
      const child = spawn(command, args, {
        cwd,
        env: { ...env, PATH: process.env["PATH"] },
        stdio: ["ignore", "ignore", "pipe"],
      });
      let rest = "";
      child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        const text = lines.map((line) => `${new Date().toISOString()} stderr F ${line}\n`).join("");
        appendFileSync(join(logDirectory, "00000000.log"), text);
      });
      const startedMs = Date.now();
      const current = { state: "running", pid: child.pid ?? 0, startedMs } as const;
      const status: EtcdProcessStatus = { id, labels, argv, current, logDirectory };
      heldById.set(id, { status, child });
      child.once("exit", (code, signal) =>
        update(id, {
          state: "exited",
          exit: { reason: signal ? "signal" : "exited", ...(code === null ? {} : { code }) },
          startedMs,
          endedMs: Date.now(),
        }),
      );
      return status;
    },
    async stop(id) {
      const held = heldById.get(id);
      send(id, "SIGTERM");
      if (held) await gone(held.child);
      return statusOf(id);
    },
    async remove(id) {
      heldById.delete(id);
    },
    list: async () => [...heldById.values()].map(({ status }) => status),
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    kill: (id) => send(id, "SIGKILL"),
    async [Symbol.asyncDispose]() {
      const children = [...heldById.values()].map(({ child }) => child);
      for (const id of heldById.keys()) send(id, "SIGKILL");
      await Promise.all(children.map(gone));
    },
  };
}
