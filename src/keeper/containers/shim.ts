/**
 * The parent of a container: a POSIX shell (0.2 MB proportional) that outlives the keeper. It enters the
 * cgroups before the command runs, writes down the pid before and the exit status after, and is
 * itself in neither the container's session nor its cgroup, so that no kill of the one hits the
 * other. That is how an exit code survives a SIGKILL of the keeper (docs/decisions/0002).
 */
import { spawn, type ChildProcess } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import type { ContainerSpec } from "../protocol.ts";

/**
 * `dir count door… command…`. The subshell keeps the signals' defaults (a background job of a shell
 * would ignore SIGINT), reads its own and the shim's start time, and becomes the command by exec. The
 * shim's own output goes nowhere: shells announce killed children on standard error.
 */
const script = `
dir=$1 count=$2
shift 2
trap : TERM INT HUP QUIT
exec 3>&1 4>&2 >/dev/null 2>&1
started() { pid=$1; }
ticks() { shift 19; start=$1; }
(
  trap - TERM INT HUP QUIT
  read -r stat </proc/$$/stat
  ticks \${stat##*) }
  shim="$$ $start"
  read -r stat </proc/self/stat
  started $stat
  ticks \${stat##*) }
  while [ "$count" -gt 0 ]; do
    echo 0 >"$1" || exit 125
    shift
    count=$((count - 1))
  done
  echo "$pid $start $shim" >"$dir/pid"
  exec "$@"
) >&3 2>&4 3>&- 4>&-
status=$?
echo "$status" >"$dir/exit"
`;

/** Enters cgroups and becomes the command; for what runs beside a container (exec probes). */
const enterScript = `
count=$1
shift
while [ "$count" -gt 0 ]; do
  echo 0 >"$1" || exit 125
  shift
  count=$((count - 1))
done
exec "$@"
`;

export type ShimFiles = {
  readonly directory: string;
  readonly doors: readonly string[];
  /** Open for appending. */
  readonly stdoutFd: number;
  readonly stderrFd: number;
};

export function startShim(spec: ContainerSpec, files: ShimFiles): ChildProcess {
  const { env, prefix } = shellEnvironment(spec.env);
  const command = [tool("setsid"), ...identityPrefix(spec), ...prefix, ...spec.argv];
  const count = String(files.doors.length);
  const child = spawn(
    "/bin/sh",
    ["-c", script, "skerry-shim", files.directory, count, ...files.doors, ...command],
    {
      cwd: spec.cwd,
      env,
      detached: true,
      stdio: ["ignore", files.stdoutFd, files.stderrFd],
    },
  );
  child.unref();
  return child;
}

export function startInside(
  doors: readonly string[],
  argv: readonly string[],
  options: {
    cwd: string;
    env: Readonly<Record<string, string>>;
    identity: Pick<ContainerSpec, "uid" | "gid">;
  },
): ChildProcess {
  const { env, prefix } = shellEnvironment(options.env);
  const command = [...identityPrefix(options.identity), ...prefix, ...argv];
  return spawn(
    "/bin/sh",
    ["-c", enterScript, "skerry-exec", String(doors.length), ...doors, ...command],
    {
      cwd: options.cwd,
      env,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
}

/** A shell hands on only variables that it could name itself; the others go through env(1). */
function shellEnvironment(env: Readonly<Record<string, string>>) {
  const entries = Object.entries(env);
  const nameable = entries.filter(([name]) => /^[A-Za-z_]\w*$/.test(name));
  const others = entries.filter(([name]) => !/^[A-Za-z_]\w*$/.test(name));
  return {
    env: Object.fromEntries(nameable),
    prefix:
      others.length > 0 ? [tool("env"), ...others.map(([name, value]) => `${name}=${value}`)] : [],
  };
}

function identityPrefix(spec: Pick<ContainerSpec, "uid" | "gid">): string[] {
  if (spec.uid === undefined && spec.gid === undefined) return [];
  return [
    tool("setpriv"),
    ...(spec.uid === undefined ? [] : [`--reuid=${spec.uid}`]),
    ...(spec.gid === undefined ? [] : [`--regid=${spec.gid}`]),
    "--clear-groups",
    "--",
  ];
}

const toolPaths = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin"];

/** An absolute path, because a container's own PATH need not lead there. Throws `tool-missing`. */
export function tool(name: "setsid" | "setpriv" | "env" | "fallocate"): string {
  const path = findTool(name);
  if (path) return path;
  throw new SkerryError({
    code: "tool-missing",
    message: `${name} is not on this host`,
    hint: "apt-get install util-linux coreutils",
  });
}

export function findTool(name: string): string | undefined {
  return toolPaths.map((folder) => join(folder, name)).find(isExecutable);
}

/** Throws `container-command` when the command or the working directory is not there to be run. */
export function checkCommand(spec: Pick<ContainerSpec, "argv" | "env" | "cwd">): void {
  if (!isDirectory(spec.cwd)) {
    throw new SkerryError({
      code: "container-command",
      message: `the working directory ${spec.cwd} is not a folder of this host`,
    });
  }
  const [command = ""] = spec.argv;
  const candidates = command.includes("/")
    ? [isAbsolute(command) ? command : join(spec.cwd, command)]
    : (spec.env["PATH"] ?? "").split(":").map((folder) => join(folder || spec.cwd, command));
  if (candidates.some(isExecutable)) return;
  throw new SkerryError({
    code: "container-command",
    message: command.includes("/")
      ? `${command} is not an executable file of this host`
      : `"${command}" is in no folder of PATH (${spec.env["PATH"] ?? "not set"})`,
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // Absent or not ours to run: either way not a command.
    return false;
  }
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    // Absent.
    return false;
  }
}
