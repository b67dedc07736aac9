/**
 * One keeper, or one hub, for each data folder: a file that holds who it is (boot id, pid, start time). It is
 * made by link(2), so that it appears whole and to one winner; a dead holder's lock is moved aside
 * by rename(2) and checked after the move, so that nobody throws away a living one's.
 */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { SkerryError, systemCode } from "../../lib/errors.ts";
import { identifyProcess, isAlive, type ProcessIdentity } from "../process/index.ts";

export type LockOutcome =
  | { readonly state: "held"; readonly identity: ProcessIdentity }
  | { readonly state: "taken"; readonly by: ProcessIdentity };

const attemptsMax = 50;

/** Takes the lock for this process, or says who lives and has it. Throws `keeper-lock`. */
export function takeLock(path: string): LockOutcome {
  const identity = identifyProcess(process.pid);
  if (!identity) {
    throw new SkerryError({ code: "keeper-lock", message: "cannot read /proc/self/stat" });
  }
  const own = `${path}.${identity.pid}`;
  writeFileSync(own, JSON.stringify(identity), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      if (linkIfAbsent(own, path)) return { state: "held", identity };
      const holder = readHolder(path);
      if (holder && isAlive(holder)) return { state: "taken", by: holder };
      moveAside(path, `${own}.old`);
    }
  } finally {
    rmSync(own, { force: true });
  }
  throw new SkerryError({ code: "keeper-lock", message: `${path} changes hands all the time` });
}

/** Who holds the lock and lives; undefined when nobody does. */
export function lockHolder(path: string): ProcessIdentity | undefined {
  const holder = readHolder(path);
  return holder && isAlive(holder) ? holder : undefined;
}

export function releaseLock(path: string, identity: ProcessIdentity): void {
  if (readHolder(path)?.pid === identity.pid) rmSync(path, { force: true });
}

function moveAside(path: string, aside: string): void {
  try {
    renameSync(path, aside);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
    throw error;
  }
  const moved = readHolder(aside);
  // Another taker was faster: what was moved is alive, so put it back.
  if (moved && isAlive(moved)) linkIfAbsent(aside, path);
  rmSync(aside, { force: true });
}

function linkIfAbsent(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  }
}

function readHolder(path: string): ProcessIdentity | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const { pid, bootId, startTicks } = value as Record<string, unknown>;
    return typeof pid === "number" && typeof bootId === "string" && typeof startTicks === "number"
      ? { pid, bootId, startTicks }
      : undefined;
  } catch {
    // A lock that nobody can read binds nobody.
    return undefined;
  }
}
