/**
 * Files in a row, as a POSIX ustar archive (IEEE Std 1003.1, pax): the payload of a backup, so that
 * `age -d … | tar x` takes one apart where no Skerry is left. Regular files with short names only.
 */
import { damaged } from "./age/header.ts";

const blockBytes = 512;
const nameBytesMax = 100;

export type ArchiveFile = {
  readonly name: string;
  readonly bytes: number;
  readonly content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
};

/** `atMs` becomes the time of every file. The contents must be as long as announced. */
export async function* pack(
  files: Iterable<ArchiveFile>,
  options: { atMs: number },
): AsyncGenerator<Uint8Array> {
  for (const { name, bytes, content } of files) {
    yield headerOf(name, bytes, options.atMs);
    let written = 0;
    for await (const piece of content) {
      written += piece.byteLength;
      yield piece;
    }
    if (written !== bytes)
      throw new RangeError(`${name} has ${written} bytes, and ${bytes} were announced`);
    const over = bytes % blockBytes;
    if (over > 0) yield Buffer.alloc(blockBytes - over);
  }
  yield Buffer.alloc(2 * blockBytes);
}

/**
 * The files in their order. Read each `content` to its end before the next is asked for. Throws
 * `backup-damaged` when it ends early or is no such archive.
 */
export async function* unpack(source: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveFile> {
  const iterator = source[Symbol.asyncIterator]();
  let held: Buffer = Buffer.alloc(0);
  /** Up to `bytesMax` bytes, at least one. */
  const some = async (bytesMax: number): Promise<Buffer> => {
    while (held.length === 0) {
      const next = await iterator.next();
      if (next.done === true) throw damaged("its archive ends early");
      held = Buffer.from(next.value);
    }
    const piece = held.subarray(0, bytesMax);
    held = held.subarray(piece.length);
    return piece;
  };
  async function* exactly(bytes: number) {
    for (let left = bytes; left > 0;) {
      const piece = await some(left);
      left -= piece.length;
      yield piece;
    }
  }
  const block = async (bytes: number) => {
    const pieces: Buffer[] = [];
    for await (const piece of exactly(bytes)) pieces.push(piece);
    return Buffer.concat(pieces);
  };
  try {
    for (;;) {
      const header = await block(blockBytes);
      if (header.every((byte) => byte === 0)) break;
      const { name, bytes } = readHeader(header);
      let isRead = false;
      const content = async function* () {
        yield* exactly(bytes);
        isRead = true;
      };
      yield { name, bytes, content: content() };
      if (!isRead) throw new RangeError(`${name} was not read to its end`);
      await block((blockBytes - (bytes % blockBytes)) % blockBytes);
    }
    // To the end: only that proves that nothing was cut off.
    while (!(await iterator.next()).done);
  } finally {
    await iterator.return?.();
  }
}

function headerOf(name: string, bytes: number, atMs: number): Buffer {
  if (name.length > nameBytesMax || !/^[\w.@/-]+$/.test(name))
    throw new RangeError(`${name} is no name for a file of a backup`);
  const header = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, digits: number) =>
    header.write(value.toString(8).padStart(digits, "0"), at, "latin1");
  header.write(name, 0, "latin1");
  octal(0o600, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(bytes, 124, 11);
  octal(Math.floor(atMs / 1000), 136, 11);
  header.write("0", 156, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  header.write(" ".repeat(8), 148, "latin1");
  octal(sumOf(header), 148, 6);
  header[154] = 0;
  return header;
}

const sumOf = (header: Buffer) => header.reduce((sum, byte) => sum + byte, 0);

function readHeader(header: Buffer): { name: string; bytes: number } {
  const textAt = (at: number, length: number) =>
    header.toString("latin1", at, at + length).replace(/[\0 ].*$/s, "");
  const claimed = Number.parseInt(textAt(148, 8), 8);
  const blank = Buffer.from(header);
  blank.fill(" ", 148, 156);
  const bytes = Number.parseInt(textAt(124, 12), 8);
  const isSound = claimed === sumOf(blank) && textAt(257, 6) === "ustar" && textAt(156, 1) === "0";
  if (!isSound || !Number.isSafeInteger(bytes)) throw damaged("its archive is none");
  return { name: textAt(0, nameBytesMax), bytes };
}
