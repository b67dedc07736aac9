/**
 * How a database goes on working on a disk without a byte left. What frees pages in it is written to
 * its log first, which cannot grow, and the log cannot be moved into the file, which cannot grow either.
 * So the ballast is given up as far as both need it, and from then on the file stays as large as it is:
 * what is written goes to pages that were freed, and needs no more of the disk than a short log. A log
 * that a commit moves is at most half of the ballast, so that there is always enough.
 */
import { statSync } from "node:fs";
import { every, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Ballast } from "./ballast.ts";
import { isOutOfRoom, sqliteFailure } from "./failures.ts";
import { emptyLog } from "./long-log.ts";
import type { Database } from "./open.ts";

export type Relief = {
  /**
   * After `disk-full`, outside of a transaction: whether to try again, because the log has room now or
   * the file may grow. False: only pages that are freed in the file help.
   */
  relieve(): boolean;
  /** Once the database is closed: the room of its log is kept until it is opened again. */
  close(): void;
};

/** How many pages of a log are moved into the file, for a database with this ballast. */
export const logPagesWith = ({ bytesMax }: Ballast, pages: number): number =>
  Math.min(pages, Math.floor(bytesMax / 2 / pageBytesDefault));

const pageBytesDefault = 4096;
const readersMs = 50;
const periodMs = 10_000;
/** Between two looks for space. */
const looksMs = 1000;
/** The ballast is made behind everything else. */
const pauseMs = 20;

/** From time to time it lets the file grow again, and makes the ballast whole, as far as there is room. */
export function createRelief(
  { db, clock, log }: { db: Database; clock: Clock; log: Log },
  { path, ballast }: { path: string; ballast: Ballast },
): Relief {
  const pragma = (name: string) =>
    Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
  const [pageBytes, pagesMax, logPages] = ["page_size", "max_page_count", "wal_autocheckpoint"].map(
    pragma,
  ) as [number, number, number];
  const { bytesMax, pieceBytes } = ballast;
  let isTight = false;

  const setBounds = (bounds: { pages: number; logPages: number }) => {
    db.exec(`PRAGMA max_page_count = ${bounds.pages}`);
    db.exec(`PRAGMA wal_autocheckpoint = ${bounds.logPages}`);
  };
  const tighten = () => {
    isTight = true;
    setBounds({
      pages: pragma("page_count"),
      logPages: Math.max(1, Math.floor(pieceBytes / 2 / pageBytes)),
    });
    log.warn("the disk is full: a store takes only what is freed in its file", { path });
  };
  const giveRoom = () => {
    const growth = pragma("page_count") * pageBytes - statSync(path).size;
    ballast.give(Math.max(0, growth) + pieceBytes);
    try {
      emptyLog(db, readersMs);
    } catch (error) {
      const failure = sqliteFailure(error, path);
      // Without ballast there may be too little room even so; what is freed later is of use then.
      if (!(failure instanceof SkerryError) || failure.code !== "disk-full") throw failure;
    }
  };
  const isShort = () => ballast.freeBytes < ballast.missingBytes + 2 * pieceBytes;
  let lookedMs = -Infinity;
  const loosen = (): boolean => {
    if (!isTight || clock.monotonicMs() < lookedMs + looksMs) return false;
    lookedMs = clock.monotonicMs();
    // The figures of a disk say nothing of a quota.
    if (isShort() || isOutOfRoom(path, ballast.missingBytes + 2 * pieceBytes)) return false;
    // First: what the file grows by would take its place.
    while (ballast.grow(pieceBytes));
    setBounds({ pages: pagesMax, logPages });
    isTight = false;
    log.info("there is space again, and a store grows as before", { path });
    return true;
  };

  const { missingBytes } = ballast;
  // As it was when it was closed: each start would else take a little more of what is left.
  if (missingBytes > 0 && missingBytes < bytesMax && isShort()) tighten();

  const ended = new AbortController();
  const tend = async () => {
    loosen();
    while (!ended.signal.aborted && ballast.grow(pieceBytes)) await clock.sleep(pauseMs);
  };
  const tending = every(clock, periodMs, tend, (error) =>
    log.warn("the ballast could not be made; it is tried again", { error }),
  );

  return {
    relieve() {
      if (!db.isOpen) return false;
      if (!isTight) {
        giveRoom();
        tighten();
        return true;
      }
      if (loosen()) return true;
      // Somebody else took what was left to the log.
      return isOutOfRoom(path) && ballast.give(pieceBytes);
    },
    close() {
      ended.abort();
      tending.cancel();
      if (isTight) while (ballast.grow(pieceBytes / 8));
    },
  };
}
