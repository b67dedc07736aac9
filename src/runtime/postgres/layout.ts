/**
 * Which tables a database has: the layout of each part is a number in `skerry.layout`, and each step
 * leads one on. Several processes that start at once wait for each other at an advisory lock.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Session } from "./connect.ts";
import type { Postgres } from "./pool.ts";

/** Any number that no other program in this database uses: "skerry" as bytes. */
export const layoutLock = 0x73_6b_65_72_72_79;

/** Statements, or what moves rows elsewhere by other means: done once, with the session that locks. */
export type LayoutStep = string | ((session: Session) => Promise<void>);

/**
 * Makes the tables of `part`, or brings them up: `steps[n]` leads from layout n to n + 1, each in one
 * transaction with all before it. Throws `store-newer` for a later layout, `database-forbidden`.
 */
export async function preparePostgresLayout(
  postgres: Postgres,
  { part, steps }: { part: string; steps: readonly LayoutStep[] },
): Promise<void> {
  await postgres.transaction(async (session) => {
    // Whoever makes or changes tables just now is waited for, however long a lock may be waited for.
    await session.script(`SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(${layoutLock})`);
    const [there] = await session.query("SELECT to_regclass('skerry.layout') IS NOT NULL AS there");
    if (!there?.["there"])
      await session.script(
        `CREATE SCHEMA IF NOT EXISTS skerry;
         CREATE TABLE skerry.layout(part text PRIMARY KEY, version int NOT NULL)`,
      );
    const [row] = await session.query("SELECT version FROM skerry.layout WHERE part = $1", [part]);
    const found = Number(row?.["version"] ?? 0);
    if (found > steps.length) {
      throw new SkerryError({
        code: "store-newer",
        message: `the tables at ${postgres.place} were made by a later version of Skerry (${part} ${found}, this one knows ${steps.length})`,
        hint: "run the version that made them",
      });
    }
    if (found === steps.length) return;
    for (const step of steps.slice(found)) {
      if (typeof step === "string") await session.script(step);
      else await step(session);
    }
    await session.query(
      `INSERT INTO skerry.layout VALUES ($1, $2)
       ON CONFLICT (part) DO UPDATE SET version = excluded.version`,
      [part, steps.length],
    );
  });
}
