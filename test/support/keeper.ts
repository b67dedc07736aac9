/** A real keeper process for a test, in a folder of its own, and the certainty that nothing stays behind. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  connectKeeper,
  ensureKeeper,
  keeperPid,
  type ContainerSpec,
  type Keeper,
  type KeeperClientOptions,
} from "../../src/keeper/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { waitFor } from "./wait.ts";

export const keeperDeps = { clock: systemClock, random: systemRandom, log: silentLog };

/** A slow machine takes its time to start a keeper. */
const patient = { connectTimeoutMs: 60_000 };

export type KeeperFolder = AsyncDisposable & {
  readonly dataDir: string;
  /** Starts or finds the keeper; closed with the folder. */
  open(options?: Omit<KeeperClientOptions, "revive">): Promise<Keeper>;
  /** Connects without starting one. */
  connect(options?: KeeperClientOptions): Promise<Keeper>;
  pid(): number | undefined;
  /** SIGKILL to the keeper; resolves when it is gone. */
  kill(): Promise<void>;
};

/** SKERRY_TEST is in the environment of all that the test starts: who bears it is killed at the end. */
export function createKeeperFolder(folderName = "skerry-keeper-"): KeeperFolder {
  const dataDir = mkdtempSync(join(tmpdir(), folderName));
  const clients: Keeper[] = [];
  const remember = (keeper: Keeper) => {
    clients.push(keeper);
    return keeper;
  };
  const kill = async () => {
    const pid = keeperPid(dataDir);
    if (pid === undefined) return;
    process.kill(pid, "SIGKILL");
    // An agent may have brought up the next one before it is looked for.
    await waitFor(() => keeperPid(dataDir) !== pid, { what: "the keeper to be gone" });
  };
  return {
    dataDir,
    open: async (options) =>
      remember(await ensureKeeper(dataDir, keeperDeps, { ...patient, ...options })),
    connect: async (options) =>
      remember(await connectKeeper(dataDir, keeperDeps, { ...patient, ...options })),
    pid: () => keeperPid(dataDir),
    kill,
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.close();
      try {
        // A keeper adopts whatever is left and takes it down, its cgroups included.
        const last = await ensureKeeper(dataDir, keeperDeps, patient);
        await last.shutdown({ agentGraceMs: 0, stopContainers: true });
      } finally {
        await kill();
        const mark = `SKERRY_TEST=${dataDir}\0`;
        await waitFor(
          () => {
            const left = processesWith(mark);
            for (const pid of left) killOne(pid);
            return left.length === 0;
          },
          { what: "the test's processes to be gone" },
        );
        rmSync(dataDir, { recursive: true, force: true });
      }
    },
  };
}

/** Pids whose environment holds `mark`. */
function processesWith(mark: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      return `${readFileSync(`/proc/${name}/environ`, "utf8")}\0`.includes(mark)
        ? [Number(name)]
        : [];
    } catch {
      // Gone, or not ours.
      return [];
    }
  });
}

function killOne(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone.
  }
}

let nextId = 1;

/** A shell command as a container. */
export function shellContainer(
  folder: KeeperFolder,
  command: string,
  more: Partial<ContainerSpec> = {},
): ContainerSpec {
  return {
    id: `c${nextId++}`,
    argv: ["/bin/sh", "-c", command],
    env: { PATH: "/usr/bin:/bin", SKERRY_TEST: folder.dataDir },
    cwd: "/",
    limits: {},
    labels: {},
    graceMs: 1000,
    ...more,
  };
}

export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    // No such process.
    return false;
  }
}

/** The log's lines, in order, as they stand on disk. */
export function readLogLines(directory: string): string[] {
  return readdirSync(directory)
    .sort()
    .flatMap((name) => readFileSync(join(directory, name), "utf8").split("\n"))
    .filter((line) => line !== "");
}
