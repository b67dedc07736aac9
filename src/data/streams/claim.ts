/** Opens a store's identity: goes on with its origin when that is safe, else takes a new one (D7). */
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
      : distrust(
          { origin: found, token: meta("token") ?? "", top: topOf(db, found) },
          readMarker(path),
          inode,
        );
  // A node that took over another node's file must not go on with that node's log.
  const foreign = found !== undefined && !found.startsWith(`${node}.`);
  const keep = found !== undefined && doubt === undefined && !foreign;
  const origin = keep ? found : `${node}.${newIncarnation(random, clock.wallMs())}`;
  const sameRows = found !== undefined && (keep || doubt === "not closed cleanly") && !foreign;
  const view = (sameRows ? meta("view") : undefined) ?? nameSuffix(random, 8);
  const token = nameSuffix(random, 16);
  db.exec("BEGIN IMMEDIATE");
  for (const [name, value] of Object.entries({ origin, token, view })) set.run(name, value);
  db.exec("COMMIT");
  writeMarker(path, { token, inode });
  if (found !== undefined && !keep) {
    log.info(`the ${what} goes on under a new origin`, {
      origin,
      before: found,
      why: foreign ? "another node's file" : doubt,
    });
  }
  return { origin, token, view };
}

function topOfEntries(db: Database, origin: string): number {
  const row = db.prepare("SELECT top FROM origin WHERE scope = '' AND name = ?").get(origin);
  return Number(row?.["top"] ?? 0);
}
