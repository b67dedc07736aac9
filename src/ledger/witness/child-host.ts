/**
 * Holds a witness's etcd as a child of this process, which ends with it. What a predecessor that was
 * killed left running is ended before another is started: two would fight for one folder.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { appendFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { systemCode } from "../../lib/errors.ts";
import { exited } from "../../runtime/child/index.ts";
import { ensureDirectory, readRecord, writeRecord } from "../../runtime/files/index.ts";
import { identifyProcess, isAlive, type ProcessIdentity } from "../../runtime/process/index.ts";
import type { EtcdProcessHost, EtcdProcessStatus } from "../ports.ts";

const logBytesMax = 4 * 1024 * 1024;
const orphanPollMs = 100;

type Held = { status: EtcdProcessStatus; child: ChildProcess };

export function createChildHost(
  deps: { clock: Clock },
  folder: string,
): EtcdProcessHost & AsyncDisposable {
  const { clock } = deps;
  const listeners = new Set<(status: EtcdProcessStatus | undefined) => void>();
  const heldById = new Map<string, Held>();
  const pidPath = join(folder, "etcd.pid.json");

  const update = (id: string, current: EtcdProcessStatus["current"]) => {
    const held = heldById.get(id);
    if (!held) return;
    held.status = { ...held.status, current };
    for (const listener of listeners) listener(held.status);
  };

  const endOrphan = async () => {
    const orphan = readRecord(pidPath) as ProcessIdentity | undefined;
    if (!orphan) return;
    for (let isTold = false; isAlive(orphan); isTold = true) {
      if (!isTold) process.kill(orphan.pid, "SIGTERM");
      await clock.sleep(orphanPollMs);
    }
    rmSync(pidPath, { force: true });
  };

  const host: EtcdProcessHost = {
    async start({ id, argv, env, cwd, labels }) {
      await endOrphan();
      const logDirectory = join(folder, "log");
      ensureDirectory(logDirectory);
      const child = spawn(argv[0] ?? "", argv.slice(1), {
        cwd,
        env: { ...env },
        stdio: ["ignore", "ignore", "pipe"],
      });
      keepLog(clock, child, logDirectory);
      const startedMs = clock.wallMs();
      const current = { state: "running", pid: child.pid ?? 0, startedMs } as const;
      const status: EtcdProcessStatus = { id, labels, argv, current, logDirectory };
      heldById.set(id, { status, child });
      const ended = (exit: { code?: number; reason: string }) =>
        update(id, { state: "exited", exit, startedMs, endedMs: clock.wallMs() });
      exited(child).then(
        ({ code, signal }) =>
          ended({ reason: signal ?? "exited", ...(code === null ? {} : { code }) }),
        (error: unknown) => ended({ reason: String(error) }),
      );
      const identity = identifyProcess(child.pid ?? 0);
      if (identity) writeRecord(pidPath, identity);
      return status;
    },
    async stop(id, { graceMs }) {
      const { child, status } = heldById.get(id) ?? missing(id);
      const ending = exited(child);
      child.kill("SIGTERM");
      const kill = clock.after(graceMs, () => child.kill("SIGKILL"));
      await ending;
      kill.cancel();
      rmSync(pidPath, { force: true });
      return heldById.get(id)?.status ?? status;
    },
    async remove(id) {
      heldById.delete(id);
    },
    list: async () => [...heldById.values()].map(({ status }) => status),
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  return {
    ...host,
    async [Symbol.asyncDispose]() {
      for (const [id, { status }] of heldById)
        if (status.current.state !== "exited") await host.stop(id, { graceMs: 10_000 });
    },
  };
}

/** CRI lines in numbered files, as the keeper writes them; the last two are kept. */
function keepLog(clock: Clock, child: ChildProcess, directory: string): void {
  const nameOf = (number: number) => `${String(number).padStart(8, "0")}.log`;
  let number = numbersIn(directory).at(-1) ?? 0;
  let rest = "";
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    const time = new Date(clock.wallMs()).toISOString();
    if (sizeOf(join(directory, nameOf(number))) > logBytesMax) {
      rmSync(join(directory, nameOf(number - 1)), { force: true });
      number++;
    }
    const text = lines.map((line) => `${time} stderr F ${line}\n`).join("");
    appendFileSync(join(directory, nameOf(number)), text);
  });
}

const numbersIn = (directory: string): number[] =>
  readdirSync(directory)
    .flatMap((name) => (/^\d{8}\.log$/.test(name) ? [Number.parseInt(name, 10)] : []))
    .sort((a, b) => a - b);

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return 0;
    throw error;
  }
}

const missing = (id: string): never => {
  throw new RangeError(`no process ${id}`);
};
