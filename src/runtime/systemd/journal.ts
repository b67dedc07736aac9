/** Log lines as journald wants them: one a line, with the level in front (sd-daemon(3)). */
import { fstatSync } from "node:fs";

/** Whether `fd` leads into the journal: JOURNAL_STREAM names its device and inode (systemd.exec(5)). */
export function isJournal(fd: number, env: Readonly<Record<string, string | undefined>>): boolean {
  const stream = env["JOURNAL_STREAM"];
  if (!stream) return false;
  try {
    const { dev, ino } = fstatSync(fd);
    return stream === `${dev}:${ino}`;
  } catch {
    // A descriptor that is closed leads nowhere.
    return false;
  }
}

const priorityByLevel: Readonly<Record<string, number>> = { error: 3, warn: 4, info: 6, debug: 7 };

/**
 * `{"level":"warn","time":…,"agent":"n1","message":"slow","ms":5}` as `<4>slow agent=n1 ms=5`; the
 * journal has the time. What is no JSON line was said at the end of a process: an error.
 */
export function journalLine(line: string): string {
  let record: Readonly<Record<string, unknown>>;
  try {
    record = JSON.parse(line) as typeof record;
  } catch {
    // As it stands; `explain` and Node's own traces are written so.
    return `<3>${line}`;
  }
  if (typeof record !== "object" || record === null) return `<3>${line}`;
  const { level, time: _, message, ...fields } = record;
  const words = Object.entries(fields).map(([name, value]) => `${name}=${textOf(value)}`);
  return [`<${priorityByLevel[String(level)] ?? 6}>${String(message)}`, ...words].join(" ");
}

const textOf = (value: unknown) =>
  typeof value === "string" && /^[^\s"]+$/.test(value) ? value : JSON.stringify(value);
