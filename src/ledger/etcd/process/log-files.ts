/** Follows the log of a container of the keeper: CRI lines (`TIME stderr F text`) in numbered files. */
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { every, type Clock } from "../../../lib/clock.ts";
import { systemCode } from "../../../lib/errors.ts";

const pollMs = 500;
const readBytesMax = 256 * 1024;
/** A longer line is given up: nothing of interest is longer. */
const lineCharactersMax = 64 * 1024;

/** Calls `onLine` with each whole line of text; `from` "end" leaves out what stands there already. */
export function followLog(
  deps: { clock: Clock; onError: (error: unknown) => void },
  options: { directory: string; from: "start" | "end"; onLine: (text: string) => void },
): { stop(): Promise<void> } {
  const { directory, onLine } = options;
  const takeLine = createLineTaker(onLine);
  let current: { name: string; offset: number } | undefined;
  let skips = options.from === "end";
  let reading: Promise<void> = Promise.resolve();

  const files = async (): Promise<string[]> => {
    try {
      return (await readdir(directory)).filter((name) => /^\d{8}\.log$/.test(name)).sort();
    } catch (error) {
      if (systemCode(error) === "ENOENT") return [];
      throw error;
    }
  };

  const read = async () => {
    const names = await files();
    for (const name of names) {
      if (current && name < current.name) continue;
      if (current?.name !== name) current = { name, offset: 0 };
      if (skips && name !== names.at(-1)) continue;
      await using file = await open(join(directory, name), "r");
      const { size } = await file.stat();
      if (skips) current.offset = size;
      while (current.offset < size) {
        const bytes = Buffer.alloc(Math.min(readBytesMax, size - current.offset));
        const { bytesRead } = await file.read(bytes, 0, bytes.length, current.offset);
        if (bytesRead === 0) break;
        current.offset += bytesRead;
        takeLine(bytes.subarray(0, bytesRead).toString("utf8"));
      }
    }
    skips = false;
  };

  const timer = every(deps.clock, pollMs, () => (reading = read()), deps.onError);
  return {
    /** Reads what is left. */
    async stop() {
      timer.cancel();
      await reading.catch(() => {});
      await read().catch(deps.onError);
    },
  };
}

/** From chunks of CRI lines to texts; parts (`P`) are put together. */
export function createLineTaker(onLine: (text: string) => void): (chunk: string) => void {
  let rest = "";
  let part = "";
  return (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = (lines.pop() ?? "").slice(0, lineCharactersMax);
    for (const line of lines) {
      const match = /^\S+ (?:stdout|stderr) ([FP]) (.*)$/.exec(line);
      if (!match) continue;
      part = (part + (match[2] ?? "")).slice(0, lineCharactersMax);
      if (match[1] === "P") continue;
      onLine(part);
      part = "";
    }
  };
}
