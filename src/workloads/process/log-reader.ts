/**
 * Reads a container's log files as the keeper writes them: numbered, appended, the oldest dropped.
 * A reader keeps its file and offset; a new keeper may cut the newest file back for a moment and
 * write the same lengths again, so an offset never goes back.
 */
import { open, readdir, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import type { LogOptions } from "../driver.ts";
import { createCriReader } from "./cri-lines.ts";

const chunkBytes = 64 * 1024;
const followEveryMs = 100;

type Position = { readonly name: string; readonly offset: number };

/** `ended` says that nothing more will be written; asked before each last look. */
export async function* readLog(
  deps: { clock: Clock },
  directory: string,
  options: LogOptions & { ended: () => boolean },
): AsyncIterable<Uint8Array> {
  const { signal } = options;
  const reader = createCriReader(options);
  let position = await startPosition(directory, options.tailLines);
  for (;;) {
    if (signal?.aborted) return;
    const ended = options.ended();
    let idle = true;
    for (const name of await logFiles(directory)) {
      if (position && name < position.name) continue;
      let offset: number = position?.name === name ? position.offset : 0;
      for await (const chunk of readFrom(join(directory, name), offset)) {
        if (signal?.aborted) return;
        offset += chunk.length;
        idle = false;
        const text = reader.push(chunk);
        if (text.length > 0) yield text;
      }
      position = { name, offset };
    }
    if (!options.follow || (ended && idle)) return;
    if (idle) await pause(deps.clock, signal);
  }
}

async function pause(clock: Clock, signal: AbortSignal | undefined): Promise<void> {
  try {
    await clock.sleep(followEveryMs, signal ? { signal } : {});
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
}

async function logFiles(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((name) => name.endsWith(".log")).sort();
  } catch (error) {
    // Nothing was written yet, or the container was forgotten while it was read.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "r");
  } catch (error) {
    // The oldest file was dropped in this moment.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function* readFrom(path: string, offset: number): AsyncIterable<Buffer> {
  const file = await openIfThere(path);
  if (!file) return;
  try {
    for (let at = offset; ;) {
      const buffer = Buffer.allocUnsafe(chunkBytes);
      const { bytesRead } = await file.read(buffer, 0, chunkBytes, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** Where the last `tailLines` lines begin, looking backwards; undefined for the very beginning. */
async function startPosition(
  directory: string,
  tailLines: number | undefined,
): Promise<Position | undefined> {
  if (tailLines === undefined) return undefined;
  let wanted = tailLines;
  for (const name of (await logFiles(directory)).reverse()) {
    const file = await openIfThere(join(directory, name));
    if (!file) continue;
    try {
      const { size } = await file.stat();
      if (tailLines === 0) return { name, offset: size };
      const buffer = Buffer.allocUnsafe(chunkBytes);
      for (let end = size; end > 0;) {
        const start = Math.max(0, end - chunkBytes);
        const { bytesRead } = await file.read(buffer, 0, end - start, start);
        for (let at = bytesRead - 1; at >= 0; at--) {
          if (buffer[at] !== 10) continue;
          // The newline that ends the line before the first one wanted.
          if (start + at !== size - 1 && --wanted === 0) return { name, offset: start + at + 1 };
        }
        end = start;
      }
      // The file's first line has no newline before it.
      if (size > 0 && --wanted === 0) return { name, offset: 0 };
    } finally {
      await file.close();
    }
  }
  return undefined;
}
