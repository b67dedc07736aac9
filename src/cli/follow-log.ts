/** What is appended to a log file from now on, line by line; a file that was begun anew is read from its start. */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import type { Clock } from "../lib/clock.ts";

const pollMs = 500;
const chunkBytes = 64 * 1024;

/** Resolves once `signal` has aborted and all that was written until then is told. A file that does not exist yet is waited for. */
export async function followLog(
  path: string,
  deps: { clock: Clock; signal: AbortSignal; onLine: (line: string) => void },
): Promise<void> {
  const found = statSync(path, { throwIfNoEntry: false });
  let inode = found?.ino;
  let offset = found?.size ?? 0;
  let rest = "";
  for (;;) {
    const isLast = deps.signal.aborted;
    const read = readFrom(path, inode, offset);
    if (read) {
      inode = read.inode;
      offset = read.offset;
      const lines = (rest + read.text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line !== "") deps.onLine(line);
    }
    if (read?.more) continue;
    if (isLast) return;
    await deps.clock.sleep(pollMs, { signal: deps.signal }).catch(() => undefined);
  }
}

function readFrom(path: string, inode: number | undefined, offset: number) {
  if (!statSync(path, { throwIfNoEntry: false })) return undefined;
  const fd = openSync(path, "r");
  try {
    const { ino, size } = fstatSync(fd);
    const from = ino === inode && size >= offset ? offset : 0;
    const bytes = Buffer.alloc(Math.min(chunkBytes, size - from));
    const length = readSync(fd, bytes, 0, bytes.length, from);
    // Whole lines only, so that no character is cut; a line longer than a chunk is cut all the same.
    const lastBreak = length === 0 ? -1 : bytes.lastIndexOf(10, length - 1);
    const taken = lastBreak < 0 && length === chunkBytes ? length : lastBreak + 1;
    return {
      inode: ino,
      offset: from + taken,
      text: bytes.toString("utf8", 0, taken),
      more: length === chunkBytes,
    };
  } finally {
    closeSync(fd);
  }
}
