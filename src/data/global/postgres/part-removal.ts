/**
 * Removing a partition whose time has passed, with nobody waiting for it: its two tables are detached
 * concurrently, which takes no lock that a writer or a reader would wait behind, and dropped when they
 * are nobody's any more. That is several transactions; where one is cut short (a reader that is on the
 * old entries for hours, a hub that is killed) the next sweep goes on from what it finds.
 */
import {
  isLockTimeout,
  layoutLock,
  type Postgres,
  type Session,
} from "../../../runtime/postgres/index.ts";
import { batchesPerMs } from "./schema.ts";

/** Of what is being removed, transactions that still see it are waited for no longer than this. */
const patienceMs = 2000;

export type Removal =
  | { readonly state: "removed"; readonly entries: number }
  /** Another process is at it, or old transactions look at it. */
  | { readonly state: "later" };

/** `isThere`: within the session that holds the lock. */
export async function removePart(
  postgres: Postgres,
  part: { readonly name: string; readonly fromMs: number },
  isThere: (session: Session) => Promise<boolean>,
): Promise<Removal> {
  try {
    return await postgres.use(async (session): Promise<Removal> => {
      const [row] = await session.query(
        "SELECT pg_try_advisory_lock($1) AS mine, current_setting('lock_timeout') AS patience",
        [layoutLock],
      );
      if (!row?.["mine"]) return { state: "later" };
      // A connection that fails is given up, and with it the lock.
      const entries = (await isThere(session)) ? await remove(session, part) : 0;
      await session.query("SELECT pg_advisory_unlock($1), set_config('lock_timeout', $2, false)", [
        layoutLock,
        row["patience"],
      ]);
      return { state: "removed", entries };
    });
  } catch (error) {
    if (isLockTimeout(error)) return { state: "later" };
    throw error;
  }
}

async function remove(
  session: Session,
  { name, fromMs }: { readonly name: string; readonly fromMs: number },
): Promise<number> {
  await session.query(
    `SELECT set_config('lock_timeout', least($1::int, setting::int)::text, false)
     FROM pg_settings WHERE name = 'lock_timeout'`,
    [patienceMs],
  );
  // The directory first: what it does not name is not looked for.
  for (const table of ["piece", "entry"]) await detach(session, table, `${table}_${name}`);
  await session.query("BEGIN");
  const sums = await session.query(
    `SELECT stream, sum(last_id - first_id + 1)::bigint AS entries, sum(bytes)::bigint AS bytes
     FROM skerry.piece_${name} GROUP BY stream ORDER BY stream`,
  );
  // In this order everybody locks them.
  const streams = sums.map((row) => row["stream"]);
  await session.query(
    "SELECT id FROM skerry.stream WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
    [streams],
  );
  await session.query(
    `UPDATE skerry.stream s SET entries = s.entries - w.entries, bytes = s.bytes - w.bytes
     FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS w(id, entries, bytes) WHERE s.id = w.id`,
    [streams, sums.map((row) => row["entries"]), sums.map((row) => row["bytes"])],
  );
  await session.script(
    `DROP TABLE skerry.entry_${name}, skerry.piece_${name};
     DELETE FROM skerry.part WHERE name = '${name}';
     COMMIT`,
  );
  // Those that somebody holds are being used again, and so not old any more.
  await session.query(
    `DELETE FROM skerry.seen WHERE (stream, producer, epoch, block) IN (
       SELECT stream, producer, epoch, block FROM skerry.seen WHERE batch < $1
       FOR UPDATE SKIP LOCKED)`,
    [fromMs * batchesPerMs],
  );
  return sums.reduce((total, row) => total + Number(row["entries"]), 0);
}

/** From wherever it is: attached, detached half, or detached. */
async function detach(session: Session, parent: string, table: string): Promise<void> {
  const [link] = await session.query(
    "SELECT inhdetachpending AS pending FROM pg_inherits WHERE inhrelid = $1::regclass",
    [`skerry.${table}`],
  );
  if (!link) return;
  await session.query(
    `ALTER TABLE skerry.${parent} DETACH PARTITION skerry.${table} ${link["pending"] ? "FINALIZE" : "CONCURRENTLY"}`,
  );
}
