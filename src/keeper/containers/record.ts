/** What is known of a container on disk: enough for a new keeper to find it, stop it and say how it ended. */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { readRecord } from "../../runtime/files/index.ts";
import type { ProcessIdentity } from "../../runtime/process/index.ts";
import type { ContainerSpec, Enforcement, Exit } from "../protocol.ts";

/** The environment stays out: it may hold secrets, and adoption needs none of it. */
export type ContainerRecord = {
  readonly spec: Omit<ContainerSpec, "env">;
  readonly bootId: string;
  readonly createdMs: number;
  readonly cgroup: string;
  readonly enforcement: Enforcement;
  readonly ended?: { readonly exit: Exit; readonly startedMs?: number; readonly endedMs: number };
};

export type ContainerFiles = {
  readonly directory: string;
  readonly record: string;
  readonly pid: string;
  readonly exit: string;
  readonly checkpoint: string;
  readonly logs: string;
};

export function containerFiles(containersDirectory: string, id: string): ContainerFiles {
  const directory = join(containersDirectory, id);
  return {
    directory,
    record: join(directory, "record"),
    pid: join(directory, "pid"),
    exit: join(directory, "exit"),
    checkpoint: join(directory, "checkpoint"),
    logs: join(directory, "logs"),
  };
}

/** All records that can be read. A folder without one was never started: it goes. */
export function loadRecords(containersDirectory: string, log: Log): ContainerRecord[] {
  return readdirSync(containersDirectory).flatMap((id) => {
    const files = containerFiles(containersDirectory, id);
    let record: ContainerRecord | undefined;
    try {
      record = readRecord(files.record) as ContainerRecord | undefined;
    } catch (error) {
      // Torn by a power cut: whatever it was, it did not survive that either.
      log.error("a container's record cannot be read; it is forgotten", { container: id, error });
    }
    if (record) return [record];
    rmSync(files.directory, { recursive: true, force: true });
    return [];
  });
}

/** What the shim wrote before the command ran: who the command is, and who the shim. */
export function readPid(
  path: string,
  bootId: string,
): { command: ProcessIdentity; shim: ProcessIdentity } | undefined {
  const [pid, startTicks, shimPid, shimTicks] = readNumbers(path);
  if (shimTicks === undefined || !pid || !startTicks || !shimPid) return undefined;
  return {
    command: { pid, startTicks, bootId },
    shim: { pid: shimPid, startTicks: shimTicks, bootId },
  };
}

/** What the shim wrote after the command ended. */
export function readExitStatus(path: string): number | undefined {
  return readNumbers(path)[0];
}

/** Numbers of one line; none while the line has no end yet. */
function readNumbers(path: string): number[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return text.endsWith("\n") ? text.trim().split(" ").map(Number) : [];
}

/** A shell says 128 + n of a child that signal n killed; signals end at 64 on Linux. */
export function exitOfStatus(status: number, reason: Exit["reason"]): Exit {
  const signal = status > 128 && status <= 192 ? status - 128 : undefined;
  return { code: status, reason, ...(signal === undefined ? {} : { signal }) };
}

/** Throws `invalid-container` naming the field. */
export function checkSpec(spec: ContainerSpec): void {
  const refuse = (field: string, value: unknown, allowed: string): never => {
    throw new SkerryError({
      code: "invalid-container",
      message: `${field}: ${JSON.stringify(value)} is not allowed`,
      hint: allowed,
    });
  };
  if (typeof spec !== "object" || spec === null) refuse("spec", spec, "an object");
  if (typeof spec.id !== "string" || !/^[A-Za-z0-9][\w.-]{0,199}$/.test(spec.id)) {
    refuse("id", spec.id, "1 to 200 letters, digits, -, _ or ., a letter or digit first");
  }
  const texts = (value: unknown): value is readonly string[] =>
    Array.isArray(value) && value.every((text) => typeof text === "string" && !text.includes("\0"));
  if (!texts(spec.argv) || !spec.argv[0]) refuse("argv", spec.argv, "a command and its arguments");
  for (const field of ["env", "labels"] as const) {
    const map = spec[field];
    if (typeof map !== "object" || map === null || !texts(Object.values(map))) {
      refuse(field, map, "texts by name");
    }
  }
  if (Object.keys(spec.env).some((name) => name === "" || /[=\0]/.test(name))) {
    refuse("env", Object.keys(spec.env), "names without = and not empty");
  }
  if (typeof spec.cwd !== "string" || !spec.cwd.startsWith("/")) {
    refuse("cwd", spec.cwd, "an absolute path");
  }
  const number = (field: string, value: unknown, least: number) => {
    if (value !== undefined && !(Number.isSafeInteger(value) && Number(value) >= least)) {
      refuse(field, value, `a whole number from ${least}`);
    }
  };
  number("uid", spec.uid, 0);
  number("gid", spec.gid, 0);
  number("graceMs", spec.graceMs, 0);
  if (typeof spec.limits !== "object" || spec.limits === null) {
    refuse("limits", spec.limits, "an object");
  }
  number("limits.memoryBytes", spec.limits.memoryBytes, 1);
  number("limits.cpuMilli", spec.limits.cpuMilli, 1);
}
