/**
 * A real PostgreSQL of the test's own, from Debian's binaries: its folder in a temporary directory, a
 * free port on the loopback address given, run by an unprivileged user because it refuses root.
 * `fsync` is on.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { openPostgres, parsePostgresUrl, type Postgres } from "../../src/runtime/postgres/index.ts";
import { freePorts } from "./etcd.ts";
import { waitFor } from "./wait.ts";

export const postgresPassword = "p@ss/word:1";

export interface TestPostgres extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly folder: string;
  /** Of `database`, which is made when it is not there; as the superuser, with the password in it. */
  url(database?: string): Promise<string>;
  /** A database of its own. */
  freshUrl(): Promise<string>;
  /** A connection beside the product's. */
  open(url: string): Promise<Postgres & AsyncDisposable>;
  start(settings?: readonly string[]): Promise<void>;
  /** SIGKILL to all of its processes at once: what a power cut is to its clients. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

/** Generous for a machine that is shared and slow. */
const startTimeoutMs = 60_000;

/** Throws with the line that installs it when there is no PostgreSQL here. */
export async function startPostgres(options: {
  host: string;
  /** On the disk of the temporary directory, with settings of its own: for benches. */
  onDisk?: readonly string[];
}): Promise<TestPostgres> {
  const { host, onDisk } = options;
  const binaries = findBinaries();
  const owner = ownerOf();
  // In memory where the machine has such a place: what is tested is not the disk.
  const folder = mkdtempSync(
    join(!onDisk && existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "skerry-postgres-"),
  );
  const data = join(folder, "data");
  if (owner) chownSync(folder, owner.uid, owner.gid);
  const passwordPath = join(folder, "password");
  writeFileSync(passwordPath, postgresPassword);
  if (owner) chownSync(passwordPath, owner.uid, owner.gid);
  execFileSync(
    join(binaries, "initdb"),
    [
      "-D",
      data,
      "-U",
      "skerry",
      "-E",
      "UTF8",
      "--locale=C",
      "-A",
      "scram-sha-256",
      "--pwfile",
      passwordPath,
      "--no-sync",
    ],
    { stdio: ["ignore", "ignore", "pipe"], cwd: folder, ...owner },
  );
  const [port] = await freePorts(host);
  let child: ChildProcess | undefined;
  let said = "";
  let databases = 0;

  const open = async (url: string) => {
    const postgres = await openPostgres(
      { clock: systemClock, log: silentLog },
      parsePostgresUrl(url),
      { application: "test", connectionsMax: 2 },
    );
    return Object.assign(postgres, { [Symbol.asyncDispose]: () => postgres.close() });
  };
  const urlOf = (database: string) =>
    `postgres://skerry:${encodeURIComponent(postgresPassword)}@${host}:${port}/${database}?connect_timeout=60`;
  const gone = (one: ChildProcess) =>
    new Promise<void>((resolve) => {
      if (one.exitCode !== null || one.signalCode !== null) resolve();
      else one.once("exit", () => resolve());
    });
  const onExit = () => void child?.kill("SIGQUIT");

  const postgres: TestPostgres = {
    host,
    port,
    folder,
    open,
    async url(database = "skerry") {
      await using control = await open(urlOf("postgres"));
      const found = await control.use((session) =>
        session.query("SELECT 1 FROM pg_database WHERE datname = $1", [database]),
      );
      if (found.length === 0)
        await control.use((session) => session.query(`CREATE DATABASE ${database}`));
      return urlOf(database);
    },
    freshUrl: () => postgres.url(`test_${++databases}`),
    async start(settings = []) {
      const flags = [
        "fsync=on",
        "max_connections=60",
        "shared_buffers=16MB",
        "max_wal_size=64MB",
        "min_wal_size=32MB",
        "unix_socket_directories=",
        ...(onDisk ?? []),
        ...settings,
      ];
      said = "";
      const started = spawn(
        join(binaries, "postgres"),
        ["-D", data, "-h", host, "-p", String(port), ...flags.flatMap((flag) => ["-c", flag])],
        { cwd: folder, stdio: ["ignore", "ignore", "pipe"], ...owner },
      );
      child = started;
      started.stderr.setEncoding("utf8").on("data", (text: string) => {
        said = (said + text).slice(-4000);
      });
      await waitFor(
        () => {
          if (started.exitCode !== null) throw new Error(`PostgreSQL ended: ${said}`);
          return said.includes("ready to accept connections");
        },
        { timeoutMs: startTimeoutMs, what: "PostgreSQL to answer" },
      );
    },
    async kill() {
      const running = child;
      if (!running?.pid) return;
      // All at once: the server's own processes would write a little on when only their parent died.
      // It stands first: no child is made then that nobody kills, and one that ends is still there.
      const { pid: parent } = running;
      process.kill(parent, "SIGSTOP");
      await waitFor(() => /^State:\s+T/m.test(readFileSync(`/proc/${parent}/status`, "utf8")), {
        timeoutMs: startTimeoutMs,
        what: "PostgreSQL to stand still",
      });
      const all = [parent, ...childrenOf(parent)];
      for (const pid of all) process.kill(pid, "SIGSTOP");
      for (const pid of all) process.kill(pid, "SIGKILL");
      await gone(running);
      await waitFor(() => all.every((pid) => !existsSync(`/proc/${pid}`)), {
        timeoutMs: startTimeoutMs,
        what: "PostgreSQL's processes to be gone",
      });
    },
    async stop() {
      const running = child;
      if (!running) return;
      running.kill("SIGINT");
      await gone(running);
    },
    async [Symbol.asyncDispose]() {
      const running = child;
      if (running && running.exitCode === null && running.signalCode === null) {
        running.kill("SIGQUIT");
        await gone(running);
      }
      process.off("exit", onExit);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  process.once("exit", onExit);
  await postgres.start();
  return postgres;
}

/** Debian keeps them out of the PATH, one folder a version. */
function findBinaries(): string {
  const root = "/usr/lib/postgresql";
  const versions = existsSync(root)
    ? readdirSync(root)
        .filter(
          (version) => Number(version) >= 15 && existsSync(join(root, version, "bin", "postgres")),
        )
        .sort((a, b) => Number(b) - Number(a))
    : [];
  const [newest] = versions;
  if (newest === undefined)
    throw new Error("there is no PostgreSQL 15 or newer here: apt-get install postgresql-15");
  return join(root, newest, "bin");
}

/** Who runs it: Debian's user when this is root. */
function ownerOf(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const number = (flag: string) =>
    Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
  return { uid: number("-u"), gid: number("-g") };
}

function childrenOf(pid: number): number[] {
  return execFileSync("sh", ["-c", `cat /proc/${pid}/task/${pid}/children`], { encoding: "utf8" })
    .split(" ")
    .filter((text) => text.trim() !== "")
    .map(Number);
}
