/**
 * Where log lines go: a file or standard error, written without waiting. A log must never harm what
 * it reports: a disk that is full or slow costs lines, which are counted and told once it is over.
 * Lines that wait when the process ends, by a crash too, are written then.
 */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
  write,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";

/** Lines that wait for a slow disk, in bytes. */
const waitingBytesMax = 4 * 1024 * 1024;
/** How much is written between two looks at the size of the file. */
const lookEveryBytes = 256 * 1024;

export type Destination = { write(line: string): void };

export type DestinationOptions = {
  /** Standard error when absent. */
  readonly path?: string;
  /** A larger file is renamed to `PATH.1` and begun anew. Default 16 MiB. */
  readonly fileBytesMax?: number;
};

export function createDestination(options: DestinationOptions = {}): Destination {
  const { path } = options;
  const fileBytesMax = options.fileBytesMax ?? 16 * 1024 * 1024;
  let fd = path === undefined ? 2 : open(path);
  let waiting: string[] = [];
  let waitingBytes = 0;
  let dropped = 0;
  let sinceLook = 0;
  /** What the kernel is writing now; the rest of it after a short write. */
  let writing: Buffer | undefined;

  /** Several threads may log to one file: whoever finds it too large, or moved away, begins anew. */
  const rotate = () => {
    if (path === undefined || sinceLook < lookEveryBytes) return;
    sinceLook = 0;
    try {
      const named = statSync(path, { throwIfNoEntry: false });
      const isOurs = named?.ino === fstatSync(fd).ino;
      if (isOurs && named.size < fileBytesMax) return;
      if (isOurs) renameSync(path, `${path}.1`);
      const next = open(path);
      closeSync(fd);
      fd = next;
    } catch {
      // The old file stays open and takes the lines: a log that is too long is better than none.
    }
  };

  const take = (): Buffer => {
    if (dropped > 0 && waitingBytes < waitingBytesMax / 2) {
      waiting.unshift(`{"level":"warn","message":"log lines dropped","lines":${dropped}}\n`);
      dropped = 0;
    }
    const batch = Buffer.from(waiting.join(""));
    waiting = [];
    waitingBytes = 0;
    return batch;
  };

  const next = () => {
    if (writing || waiting.length === 0) return;
    rotate();
    writing = take();
    send();
  };

  const send = () => {
    const batch = writing;
    if (!batch) return;
    write(fd, batch, (error, written) => {
      if (error?.code === "EAGAIN") {
        setTimeout(send, 50).unref();
        return;
      }
      sinceLook += written ?? 0;
      const rest = error ? undefined : batch.subarray(written);
      if (error) dropped += linesIn(batch);
      writing = rest && rest.length > 0 ? rest : undefined;
      if (writing) send();
      else next();
    });
  };

  process.on("exit", () => {
    try {
      if (writing) writeSync(fd, writing);
      if (waiting.length > 0) writeSync(fd, take());
    } catch {
      // The process ends and its log cannot be written: nobody is left to be told.
    }
  });

  return {
    write(line) {
      if (waitingBytes + line.length > waitingBytesMax) {
        dropped++;
        return;
      }
      waiting.push(line);
      waitingBytes += line.length;
      next();
    },
  };
}

function open(path: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  return openSync(path, "a", 0o600);
}

const linesIn = (batch: Buffer) => batch.reduce((sum, byte) => (byte === 10 ? sum + 1 : sum), 0);
