/**
 * The power of a machine with one SQLite file: it can go at any single statement that writes. What the
 * disk held at that moment is copied, the log of an open transaction with it; nothing that the store does
 * afterwards reaches it. So a store begins again as after a real cut, and not after an ordered end.
 */
import { copyFileSync, existsSync, renameSync, rmSync } from "node:fs";
import { inodeOf, markerPath, readMarker, writeMarker } from "../../../data/inside/index.ts";
import {
  databaseFiles,
  openDatabase,
  type Database,
  type Statement,
} from "../../../runtime/sqlite/index.ts";
import { powerCut } from "./documents-memory.ts";

export type DiskPower = {
  /** For the store. */
  readonly openFile: typeof openDatabase;
  readonly isOut: boolean;
  /** It goes after this many more statements; undefined: it stays. */
  cutAfter(statements: number | undefined): void;
  /** It goes now; nothing when it is out. */
  cut(): void;
  /** Once the store is closed, or could not be opened: the files are what they were at the cut. */
  restore(): void;
};

const ending = ".at-the-cut";
/** At most so many, by a disk that forgets. */
const forgotten = 50;
/** What can be read, and undone, goes on: so a store comes to its end without power. */
const isWrite = (sql: string) => !/^\s*(SELECT|WITH|PRAGMA|ROLLBACK)/i.test(sql);

/** `onCut` is called within the statement: the store may not be read in it. */
export function createDiskPower(
  path: string,
  onCut: () => void,
  /** What no disk may do, for the proof that it is found: the last transactions go with the power. */
  { isForgetful = false } = {},
): DiskPower {
  // SQLite makes the marks of its readers anew.
  const kept = [...databaseFiles(path).filter((file) => !file.endsWith("-shm")), markerPath(path)];
  let opened: Database | undefined;
  let isOut = false;
  let left: number | undefined;
  let commits = 0;

  const copy = () => {
    for (const file of kept) if (existsSync(file)) copyFileSync(file, `${file}${ending}`);
  };
  const cut = () => {
    if (isOut) return;
    isOut = true;
    if (!isForgetful || !existsSync(`${path}${ending}`)) copy();
    onCut();
  };
  /** A moment at which the power may go. */
  const pass = () => {
    if (!isOut && left !== undefined && left-- <= 0) cut();
    if (isOut) throw powerCut();
  };
  const guarded = <Result>(sql: string, work: () => Result): Result => {
    if (!isWrite(sql)) return work();
    const isCommit = /^\s*COMMIT/i.test(sql);
    pass();
    if (isCommit && isForgetful && commits++ % forgotten === 0) copy();
    const result = work();
    // Durable, and nobody heard of it.
    if (isCommit) pass();
    return result;
  };

  const guardStatement = (statement: Statement, sql: string): Statement => {
    const over = <Name extends "run" | "get" | "all" | "iterate">(name: Name): Statement[Name] =>
      ((...values: []) => guarded(sql, () => statement[name](...values))) as Statement[Name];
    const own = { run: over("run"), get: over("get"), all: over("all"), iterate: over("iterate") };
    return withOwn(statement, own);
  };

  return {
    get isOut() {
      return isOut;
    },
    openFile(file, options) {
      // What is committed is on this disk, which is as fast as memory.
      const db = openDatabase(file, { ...options, synchronous: "off" });
      opened = db;
      return withOwn(db, {
        exec: (sql) => guarded(sql, () => db.exec(sql)),
        prepare: (sql) => guardStatement(db.prepare(sql), sql),
      });
    },
    cutAfter(statements) {
      left = statements;
    },
    cut,
    restore() {
      if (opened?.isOpen) opened.close();
      for (const file of databaseFiles(path)) rmSync(file, { force: true });
      for (const file of kept)
        if (existsSync(`${file}${ending}`)) renameSync(`${file}${ending}`, file);
      const marker = readMarker(path);
      // The same disk as before, not a copy of it.
      if (marker !== undefined && marker !== "torn")
        writeMarker(path, { ...marker, inode: inodeOf(path) });
    },
  };
}

/** `target` with members of its own; the others as they are. */
function withOwn<Target extends object>(target: Target, own: Partial<Target>): Target {
  return new Proxy(target, {
    get(_, name) {
      if (Object.hasOwn(own, name)) return own[name as keyof Target];
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
