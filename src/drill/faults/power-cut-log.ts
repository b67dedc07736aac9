/**
 * The log that `power-cut-shim.c` writes: a mapped file with one page of header, then records of
 * changes in the order in which they happened. The layout here is the one declared there.
 */
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { SkerryError } from "../../lib/errors.ts";

const headerBytes = 4096;
const offsets = { cut: 4, cutAt: 8, changes: 16, length: 24, inDoubt: 32 } as const;
const recordBytes = 40;
const chunkBytes = 32 * 1024 * 1024;

/** Inodes and the sizes of files stay far below 2^53. */
export type Change =
  | ({ readonly type: "create"; readonly inode: number; readonly parent: number } & Named)
  | ({ readonly type: "make-directory"; readonly inode: number; readonly parent: number } & Named)
  | {
      readonly type: "write";
      readonly inode: number;
      readonly offset: number;
      readonly bytes: Buffer;
      /** Through a descriptor with O_SYNC or O_DSYNC. */
      readonly durable: boolean;
    }
  | { readonly type: "truncate"; readonly inode: number; readonly size: number }
  | {
      readonly type: "punch";
      readonly inode: number;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly type: "sync"; readonly inode: number }
  | { readonly type: "sync-all" }
  | {
      readonly type: "rename";
      readonly parent: number;
      readonly from: string;
      readonly to: string;
    }
  | { readonly type: "unlink"; readonly parent: number; readonly name: string }
  | ({ readonly type: "link"; readonly inode: number; readonly parent: number } & Named)
  | { readonly type: "mapped"; readonly inode: number }
  | { readonly type: "in-doubt"; readonly inode: number }
  | { readonly type: "unmodelled"; readonly text: string };

type Named = { readonly name: string; readonly mode: number };

export interface PowerLog {
  /** Changes and fsyncs since the log was made. */
  readonly changes: number;
  /** The change that finds the power gone, counted from 1; 0 for never. */
  cutAt(change: number): void;
  /** From now on no change passes: whoever tries one is killed. */
  cut(): void;
  isCut(): boolean;
  /** Where the log ends; grows with every record. */
  readonly position: number;
  /**
   * All records, or those that end at `position` or before it. A last `in-doubt` names the inode that
   * somebody was changing when it was killed.
   */
  read(position?: number): Iterable<Change>;
  close(): void;
}

/** Replaces the file at `path`; it is sparse, and `bytes` is what it may grow to. */
export function createPowerLog(path: string, bytes: number): PowerLog {
  const fd = openSync(path, "w+", 0o600);
  ftruncateSync(fd, headerBytes + bytes);
  const number = (at: number) => {
    const cell = Buffer.alloc(8);
    readSync(fd, cell, 0, 8, at);
    return Number(cell.readBigUInt64LE());
  };
  return {
    get changes() {
      return number(offsets.changes);
    },
    cutAt(change) {
      const cell = Buffer.alloc(8);
      cell.writeBigUInt64LE(BigInt(change));
      writeSync(fd, cell, 0, 8, offsets.cutAt);
    },
    cut() {
      writeSync(fd, Buffer.from([1, 0, 0, 0]), 0, 4, offsets.cut);
    },
    isCut() {
      const cell = Buffer.alloc(4);
      readSync(fd, cell, 0, 4, offsets.cut);
      return cell.readUInt32LE() !== 0;
    },
    get position() {
      return number(offsets.length);
    },
    *read(position) {
      const end = number(offsets.length);
      yield* records(fd, Math.min(position ?? end, end), position === undefined);
      const inode = position === undefined ? number(offsets.inDoubt) : 0;
      if (inode !== 0) yield { type: "in-doubt", inode };
    },
    close() {
      closeSync(fd);
    },
  };
}

/** For a process under the shim: how far its log has come. */
export function createPositionReader(logPath: string): () => number {
  const fd = openSync(logPath, "r");
  const cell = Buffer.alloc(8);
  return () => {
    readSync(fd, cell, 0, 8, offsets.length);
    return Number(cell.readBigUInt64LE());
  };
}

function* records(fd: number, length: number, isWhole: boolean): Iterable<Change> {
  let rest = Buffer.alloc(0);
  for (let at = 0; at < length;) {
    const chunk = Buffer.alloc(Math.min(chunkBytes, length - at));
    at += readSync(fd, chunk, 0, chunk.length, headerBytes + at);
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let from = 0;
    while (from + recordBytes <= bytes.length) {
      const size = bytes.readUInt32LE(from);
      if (size < recordBytes) throw damaged(`a record of ${size} bytes`);
      if (from + size > bytes.length) break;
      yield parse(bytes.subarray(from, from + size));
      from += size;
    }
    rest = bytes.subarray(from);
  }
  if (rest.length > 0 && isWhole) throw damaged("its last record is not whole");
}

function parse(record: Buffer): Change {
  const type = record.readUInt16LE(4);
  const inode = Number(record.readBigUInt64LE(8));
  const parent = Number(record.readBigUInt64LE(16));
  const offset = Number(record.readBigInt64LE(24));
  const mode = record.readUInt32LE(32);
  const payload = record.subarray(recordBytes, recordBytes + record.readUInt32LE(36));
  switch (type) {
    case 1:
      return { type: "create", inode, parent, mode, name: payload.toString() };
    case 2:
      return { type: "make-directory", inode, parent, mode, name: payload.toString() };
    case 3:
      return {
        type: "write",
        inode,
        offset,
        bytes: Buffer.from(payload),
        durable: record.readUInt16LE(6) !== 0,
      };
    case 4:
      return { type: "truncate", inode, size: offset };
    case 5:
      return { type: "sync", inode };
    case 6: {
      const [from = "", to = ""] = payload.toString().split("\0");
      return { type: "rename", parent, from, to };
    }
    case 7:
      return { type: "unlink", parent, name: payload.toString() };
    case 8:
      return { type: "link", inode, parent, mode, name: payload.toString() };
    case 9:
      return { type: "mapped", inode };
    case 10:
      return { type: "sync-all" };
    case 11:
      return { type: "unmodelled", text: payload.toString() };
    case 12:
      return { type: "in-doubt", inode };
    case 13:
      return { type: "punch", inode, offset, length: parent };
    default:
      throw damaged(`a record of type ${type}`);
  }
}

const damaged = (what: string) =>
  new SkerryError({ code: "drill-step-failed", message: `the power-cut log is damaged: ${what}` });
