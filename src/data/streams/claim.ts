/**
 * Opens a store's identity: its origin is a new one each time (D7), and whether its rows are those of
 * before, which cursors count on, its marker tells.
 */
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { nameSuffix, type Random } from "../../lib/random.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { distrust, inodeOf, newIncarnation, readMarker, writeMarker } from "./identity.ts";

export type Claim = {
  readonly origin: string;
  readonly token: string;
  /** Names the row ids: another copy's cursors are not taken for this one's. */
  readonly view: string;
};

export function claimIdentity(
  deps: { db: Database; clock: Clock; random: Random; log: Log },
  {
    path,
    node,
    what = "stream store",
    topOf = topOfEntries,
  }: {
    path: string;
    node: string;
    /** In the log of this process. */
    what?: string;
    /** The end of an origin's log. */
    topOf?: (db: Database, origin: string) => number;
  },
): Claim {
  const { db, clock, random, log } = deps;
  const meta = (name: string) => {
    const value = db.prepare("SELECT value FROM meta WHERE name = ?").get(name)?.["value"];
    return value === undefined || value === null ? undefined : String(value);
  };
  const set = db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)");
  const inode = inodeOf(path);
  const found = meta("origin");
  const doubt =
    found === undefined
      ? undefined
      : distrust({ token: meta("token") ?? "", top: topOf(db, found) }, readMarker(path), inode);
  const isForeign = found !== undefined && !found.startsWith(`${node}.`);
  const origin = `${node}.${newIncarnation(random, clock.wallMs())}`;
  const hasSameRows =
    found !== undefined && !isForeign && (doubt === undefined || doubt === "not closed cleanly");
  const view = (hasSameRows ? meta("view") : undefined) ?? nameSuffix(random, 8);
  const token = nameSuffix(random, 16);
  db.exec("BEGIN IMMEDIATE");
  for (const [name, value] of Object.entries({ origin, token, view })) set.run(name, value);
  db.exec("COMMIT");
  writeMarker(path, { token, inode });
  if (isForeign || doubt !== undefined) {
    log.info(`the ${what} is not as it was last closed here`, {
      origin,
      before: found,
      why: isForeign ? "another node's file" : doubt,
    });
  }
  return { origin, token, view };
}

function topOfEntries(db: Database, origin: string): number {
  const row = db.prepare("SELECT top FROM origin WHERE scope = '' AND name = ?").get(origin);
  return Number(row?.["top"] ?? 0);
}
