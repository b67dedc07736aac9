/**
 * A real PostgreSQL beside the hub, for drills that take it away: on the hub's machine, with a folder in
 * the drill's, run by Debian's unprivileged user where the drill is root, since it refuses root.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Clock } from "../../lib/clock.ts";
import { explain, SkerryError } from "../../lib/errors.ts";
import { exited } from "../../runtime/child/index.ts";
import type { Network } from "./network.ts";
import { freezeAll, killAll, processesBelow, signalAll } from "./processes.ts";
import { waitUntil } from "./whole.ts";

const run = promisify(execFile);
const root = "/usr/lib/postgresql";
const oldestVersion = 15;
const port = 5432;
const startTimeoutMs = 60_000;
const saidMax = 4000;
const settings = [
  "fsync=on",
  "max_connections=60",
  "shared_buffers=32MB",
  "unix_socket_directories=",
];

export type Database = {
  /** For `skerry hub`. */
  readonly hubFlags: readonly string[];
  /** Resolves when it takes connections. */
  start(): Promise<void>;
  /** SIGKILL to all of its processes at once; resolves when none is left. */
  kill(): Promise<void>;
  /** SIGSTOP to all; the kernel still takes its connections. */
  freeze(): Promise<void>;
  thaw(): void;
};

/** Makes it and starts it. Throws `drill-step-failed` without PostgreSQL, `drill-step-failed`. */
export async function startDatabase(options: {
  /** The drill's. */
  readonly dir: string;
  readonly network: Network;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}): Promise<Database> {
  const { dir, network, clock, signal } = options;
  const binaries = findBinaries();
  const owner = await ownerOf();
  const host = network.hostOf("hub");
  const folder = join(dir, "postgres");
  const data = join(folder, "data");
  const passwordFile = join(folder, "password");
  mkdirSync(folder, { recursive: true });
  // Its user has to pass through the drill's folder, and cannot list it.
  chmodSync(dir, 0o711);
  writeFileSync(passwordFile, "of-this-drill-only");
  if (owner) for (const path of [folder, passwordFile]) chownSync(path, owner.uid, owner.gid);
  const asOwner = (argv: readonly string[]) =>
    owner
      ? ["setpriv", `--reuid=${owner.uid}`, `--regid=${owner.gid}`, "--clear-groups", ...argv]
      : argv;
  const [initdb = "", ...initArgs] = asOwner([
    ...[join(binaries, "initdb"), "-D", data, "-U", "skerry", "-E", "UTF8", "--locale=C"],
    ...["-A", "scram-sha-256", "--pwfile", passwordFile, "--no-sync"],
  ]);
  try {
    await run(initdb, initArgs, { cwd: folder });
  } catch (error) {
    throw failed(`no database could be made: ${explain(error)}`);
  }
  writeFileSync(join(data, "pg_hba.conf"), "host all all 0.0.0.0/0 scram-sha-256\n");

  let server: ChildProcess | undefined;
  const processes = () => (server?.pid === undefined ? [] : processesBelow([server.pid]));

  const database: Database = {
    hubFlags: [
      ...["--postgres", `postgres://skerry@${host}:${port}/postgres`],
      ...["--postgres-password-file", passwordFile],
    ],
    async start() {
      const argv = asOwner([
        ...[join(binaries, "postgres"), "-D", data, "-h", host, "-p", String(port)],
        ...settings.flatMap((setting) => ["-c", setting]),
      ]);
      const [file = "", ...args] = network.on("hub", argv);
      const child = spawn(file, args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
      server = child;
      let said = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        said = (said + text).slice(-saidMax);
      });
      let hasEnded = false;
      const noteEnd = () => {
        hasEnded = true;
      };
      exited(child).then(noteEnd, noteEnd);
      await waitUntil(
        "PostgreSQL",
        async () => {
          if (hasEnded) throw failed(`PostgreSQL ended: ${said}`);
          return said.includes("ready to accept connections")
            ? { found: undefined }
            : { missing: said.slice(-200) };
        },
        { clock, signal, timeoutMs: startTimeoutMs },
      );
    },
    kill: () => killAll(processes, clock),
    freeze: () => freezeAll(processes, clock),
    thaw: () => signalAll(processes(), "SIGCONT"),
  };
  await database.start();
  return database;
}

const failed = (message: string) => new SkerryError({ code: "drill-step-failed", message });

/** Debian keeps them out of the PATH, a folder each version. */
function findBinaries(): string {
  const [newest] = (existsSync(root) ? readdirSync(root) : [])
    .map(Number)
    .filter((version) => version >= oldestVersion)
    .sort((a, b) => b - a)
    .map((version) => join(root, String(version), "bin"))
    .filter((path) => existsSync(join(path, "postgres")));
  if (newest !== undefined) return newest;
  throw new SkerryError({
    code: "drill-step-failed",
    message: `there is no PostgreSQL ${oldestVersion} or newer on this machine`,
    hint: "apt-get install -y --no-install-recommends postgresql",
  });
}

async function ownerOf(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const number = async (flag: string) => Number((await run("id", [flag, "postgres"])).stdout);
  return { uid: await number("-u"), gid: await number("-g") };
}
