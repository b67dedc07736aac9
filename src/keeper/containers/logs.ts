/**
 * From what a container writes to its log. Standard output and error are plain files, the spool,
 * opened for appending: no pipe can break when the keeper dies, and no writer ever waits. The keeper
 * follows them, appends CRI lines to the log, and gives the followed part of the spool back to the
 * file system by punching holes, so that offsets never change and no write falls between a copy and
 * a truncation. A checkpoint says how far log and spool agree: a new keeper cuts the log back to it
 * and goes on, so no line is lost or doubled. docs/decisions/0002 weighs the alternatives.
 */
import { execFile } from "node:child_process";
import { constants, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { open, stat, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { cutLines, type StreamName } from "./log-lines.ts";
import { findTool } from "./shim.ts";

export type LogLimits = { readonly fileBytesMax: number; readonly filesMax: number };
export const defaultLogLimits: LogLimits = { fileBytesMax: 10 * 1024 * 1024, filesMax: 3 };

const readBytesMax = 256 * 1024;
const punchBytes = 1024 * 1024;
const checkpointBytes = 256;
const complainEveryMs = 60_000;

type Checkpoint = {
  readonly boot: string;
  generation: number;
  logBytes: number;
  stdout: number;
  stderr: number;
};

export interface ContainerLog {
  /** For the shim: opened for appending; the caller closes them. */
  openSpool(): { stdoutFd: number; stderrFd: number };
  /** There may be something to read. Never throws; trouble is logged and tried again at the next call. */
  pump(): Promise<void>;
  /** The last of it, an unfinished line included; the spool is removed. */
  finish(): Promise<void>;
}

export const spoolNames = (id: string) => ({ stdout: `${id}.out`, stderr: `${id}.err` });
export const logFileName = (generation: number) => `${String(generation).padStart(8, "0")}.log`;

export function createContainerLog(
  deps: { clock: Clock; log: Log },
  options: {
    id: string;
    bootId: string;
    spoolDirectory: string;
    logDirectory: string;
    checkpointPath: string;
    limits: LogLimits;
  },
): ContainerLog {
  const { clock, log } = deps;
  const { logDirectory, limits } = options;
  mkdirSync(logDirectory, { recursive: true, mode: 0o700 });
  const names = spoolNames(options.id);
  const paths: Record<StreamName, string> = {
    stdout: join(options.spoolDirectory, names.stdout),
    stderr: join(options.spoolDirectory, names.stderr),
  };
  const checkpoint = readCheckpoint(options.checkpointPath, options.bootId);
  const punched: Record<StreamName, number> = { stdout: 0, stderr: 0 };
  let target: FileHandle | undefined;
  let checkpointFile: FileHandle | undefined;
  let finished = false;
  let wanted = false;
  let running: Promise<void> | undefined;
  let complainedMs = Number.NEGATIVE_INFINITY;

  const openTarget = async (): Promise<FileHandle> => {
    if (target) return target;
    const path = join(logDirectory, logFileName(checkpoint.generation));
    const file = await open(path, "a+", 0o600);
    // What stands behind the checkpoint is written again from the spool.
    if ((await file.stat()).size > checkpoint.logBytes) await file.truncate(checkpoint.logBytes);
    else checkpoint.logBytes = (await file.stat()).size;
    target = file;
    return file;
  };

  /** One write of a fixed length, so that a kill leaves the old checkpoint or the new one. */
  const saveCheckpoint = async () => {
    const { O_RDWR, O_CREAT } = constants;
    checkpointFile ??= await open(options.checkpointPath, O_RDWR | O_CREAT, 0o600);
    await checkpointFile.write(JSON.stringify(checkpoint).padEnd(checkpointBytes), 0);
  };

  const append = async (text: Buffer) => {
    await openTarget();
    if (checkpoint.logBytes > 0 && checkpoint.logBytes + text.length > limits.fileBytesMax) {
      await target?.close();
      target = undefined;
      checkpoint.generation++;
      checkpoint.logBytes = 0;
      const oldest = checkpoint.generation - limits.filesMax + 1;
      for (const name of readdirSync(logDirectory)) {
        if (Number.parseInt(name, 10) < oldest) rmSync(join(logDirectory, name), { force: true });
      }
    }
    const file = await openTarget();
    await file.appendFile(text);
    checkpoint.logBytes += text.length;
  };

  /** Up to `untilBytes`: a writer without end must not keep the other stream waiting. */
  const drain = async (stream: StreamName, untilBytes: number, atEnd: boolean) => {
    // Nothing new is the rule, for each container each second.
    if (untilBytes <= checkpoint[stream]) return;
    const spool = await openIfThere(paths[stream]);
    if (!spool) return;
    try {
      const buffer = Buffer.allocUnsafe(Math.min(readBytesMax, untilBytes - checkpoint[stream]));
      while (checkpoint[stream] < untilBytes) {
        const length = Math.min(buffer.length, untilBytes - checkpoint[stream]);
        const { bytesRead } = await spool.read(buffer, 0, length, checkpoint[stream]);
        if (bytesRead === 0) return;
        const time = new Date(clock.wallMs()).toISOString();
        const last = atEnd && checkpoint[stream] + bytesRead >= untilBytes;
        const { text, consumed } = cutLines(buffer.subarray(0, bytesRead), {
          stream,
          time,
          atEnd: last,
          // Small against a file, so that files end near their limit whatever the batch was.
          textBytesMax: Math.min(readBytesMax, limits.fileBytesMax / 8),
        });
        if (consumed === 0) return;
        await append(text);
        checkpoint[stream] += consumed;
        await saveCheckpoint();
        if (checkpoint[stream] - punched[stream] >= punchBytes) await release(stream, spool);
      }
    } finally {
      await spool.close();
    }
  };

  const release = async (stream: StreamName, spool: FileHandle) => {
    const offset = checkpoint[stream];
    punched[stream] = offset;
    if (await punchHole(paths[stream], offset)) return;
    // No holes on this file system: cut the file when all of it was read. What is written between
    // the look and the cut is lost; an unbounded file would be worse.
    if ((await spool.stat()).size !== offset) return;
    const whole = await open(paths[stream], "r+");
    try {
      await whole.truncate(0);
    } finally {
      await whole.close();
    }
    checkpoint[stream] = 0;
    punched[stream] = 0;
    await saveCheckpoint();
  };

  const round = async (atEnd: boolean) => {
    try {
      // Looked at in this order, whatever was said on standard output before a line on standard error
      // is in the first look's reach, and so stands before it in the log.
      const stderrBytes = await bytesOf(paths.stderr);
      const stdoutBytes = await bytesOf(paths.stdout);
      await drain("stdout", stdoutBytes, atEnd);
      await drain("stderr", stderrBytes, atEnd);
    } catch (error) {
      // A full disk must not fill itself with complaints about it.
      if (clock.monotonicMs() - complainedMs < complainEveryMs) return;
      complainedMs = clock.monotonicMs();
      log.error("a container's log cannot be written", { container: options.id, error });
    }
  };

  return {
    openSpool: () => ({
      stdoutFd: openSync(paths.stdout, "a", 0o600),
      stderrFd: openSync(paths.stderr, "a", 0o600),
    }),
    pump() {
      wanted = true;
      running ??= (async () => {
        for (;;) {
          if (!wanted || finished) break;
          wanted = false;
          await round(false);
        }
        running = undefined;
      })();
      return running;
    },
    async finish() {
      finished = true;
      await running;
      await round(true);
      await target?.close();
      await checkpointFile?.close();
      target = undefined;
      checkpointFile = undefined;
      for (const path of Object.values(paths)) rmSync(path, { force: true });
    },
  };
}

const bytesOf = async (path: string) => (await ifThere(stat(path)))?.size ?? 0;
const openIfThere = (path: string) => ifThere(open(path, "r"));

async function ifThere<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function readCheckpoint(path: string, boot: string): Checkpoint {
  const fresh: Checkpoint = { boot, generation: 0, logBytes: 0, stdout: 0, stderr: 0 };
  let value: Partial<Checkpoint>;
  try {
    value = JSON.parse(readFileSync(path, "utf8")) as Partial<Checkpoint>;
  } catch {
    // None yet, or torn by a power cut: begin again; the spool of this boot is still whole then.
    return fresh;
  }
  const known = { ...fresh, ...value };
  // After a power cut the log may be longer or shorter than the checkpoint says: leave it whole.
  return known.boot === boot ? known : { ...known, boot, logBytes: Number.MAX_SAFE_INTEGER };
}

function punchHole(path: string, bytes: number): Promise<boolean> {
  const fallocate = findTool("fallocate");
  if (!fallocate) return Promise.resolve(false);
  const args = ["--punch-hole", "--offset", "0", "--length", String(bytes), path];
  return new Promise((resolve) => execFile(fallocate, args, (error) => resolve(error === null)));
}
