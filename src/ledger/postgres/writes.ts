/**
 * Writes, one at a time in all processes: each locks the row of `state`, looks and changes under that
 * lock, and holds it until its commit, so that revisions become visible in their order.
 *
 * What a lost connection leaves open is found out by taking the same lock: then the transaction has
 * ended, and its mark stands at the revision that it made, or it was undone. (The number of a transaction
 * would not do: `pg_xact_status` may speak of another one, for a crash gives numbers out again.)
 */
import { uuid } from "../../lib/random.ts";
import type { Postgres, Session } from "../../runtime/postgres/index.ts";
import type { Revision } from "../ledger.ts";
import type { Core } from "./core.ts";
import { stateColumns, stateOf, type State } from "./rows.ts";

/** One row of a revision: without value, a deletion. */
export type Change = {
  readonly key: string;
  readonly value: Uint8Array | null;
  /** Absent: the one that is being made. */
  readonly createRevision?: Revision | undefined;
  readonly version: number;
  readonly lease?: string | undefined;
};

export type Written<T> = {
  readonly value: T;
  /** Absent: no revision was made, and it does no harm to do all of it again. */
  readonly revision?: Revision;
};

export type Writing = {
  readonly state: State;
  /** Makes the next revision of these changes. */
  add(changes: readonly Change[]): Promise<Revision>;
};

export type Work<T> = (session: Session, writing: Writing) => Promise<Written<T>>;

export interface Writes {
  /**
   * Runs `work` under the lock and commits. Every error means that nothing was changed, but for
   * `OpenOutcome`. While `progress.isOpen` nobody can tell yet.
   */
  write<T>(limit: AbortSignal, work: Work<T>, progress?: { isOpen: boolean }): Promise<T>;
}

/** Whether the transaction was committed cannot be told any more, or not in time. */
export class OpenOutcome extends Error {}

const lockSql = `BEGIN ISOLATION LEVEL READ COMMITTED;
  SELECT ${stateColumns} FROM skerry_ledger.state s FOR UPDATE`;
const supersedeSql = `
  WITH before AS (
    UPDATE skerry_ledger.history SET superseded = $1
    WHERE key = ANY($2::text[]) AND superseded IS NULL)
  UPDATE skerry_ledger.state SET revision = $1`;
const insertSql = `
  INSERT INTO skerry_ledger.history(
    revision, position, key, value, create_revision, version, lease, superseded, mark)
  SELECT $1, n, key, value, coalesce(created, $1), version, lease, CASE WHEN value IS NULL THEN $1::bigint END, $2
  FROM unnest($3::text[], $4::bytea[], $5::bigint[], $6::bigint[], $7::text[])
    WITH ORDINALITY AS change(key, value, created, version, lease, n)`;

/** `writer`: one connection, which all writes of this process share in turn. */
export function createWrites(core: Core, writer: Postgres): Writes {
  const { place } = core;
  const { random, log } = core.deps;

  const lock = async (session: Session): Promise<State> =>
    stateOf((await session.script(lockSql)).at(-1)?.[0]);

  const add = async (
    session: Session,
    { revision, mark }: { revision: Revision; mark: string },
    changes: readonly Change[],
  ) => {
    await session.query(supersedeSql, [revision, changes.map(({ key }) => key)]);
    await session.query(insertSql, [
      revision,
      mark,
      changes.map(({ key }) => key),
      changes.map(({ value }) => value),
      changes.map(({ createRevision }) => createRevision ?? null),
      changes.map(({ version }) => version),
      changes.map(({ lease }) => lease ?? null),
    ]);
  };

  /** Runs `work` up to its commit; says by `committing` that the commit is about to be sent. */
  const commit = <T>(
    limit: AbortSignal,
    {
      mark,
      work,
      committing,
    }: { mark: string; work: Work<T>; committing: (of: Written<T>) => void },
  ): Promise<Written<T>> =>
    writer.use(
      async (session) => {
        const state = await lock(session);
        const revision = (state.revision + 1) as Revision;
        const written = await work(session, {
          state,
          async add(changes) {
            await add(session, { revision, mark }, changes);
            return revision;
          },
        });
        committing(written);
        await session.query("COMMIT");
        return written;
      },
      { signal: limit },
    );

  const wasApplied = (limit: AbortSignal, made: { revision: Revision; mark: string }) =>
    writer.use(
      async (session) => {
        const state = await lock(session);
        const [row] = await session.query(
          "SELECT mark FROM skerry_ledger.history WHERE revision = $1 LIMIT 1",
          [made.revision],
        );
        await session.query("ROLLBACK");
        if (!row && state.compacted >= made.revision)
          throw new OpenOutcome(`history is forgotten beyond revision ${made.revision}`);
        return row?.["mark"] === made.mark;
      },
      { signal: limit },
    );

  return {
    async write(limit, work, progress = { isOpen: false }) {
      const mark = uuid(random);
      let sent = undefined as Awaited<ReturnType<typeof work>> | undefined;
      try {
        const { value, revision } = await commit(limit, {
          mark,
          work,
          committing(written) {
            sent = written;
            progress.isOpen = written.revision !== undefined;
          },
        });
        progress.isOpen = false;
        if (revision !== undefined) core.note(revision);
        return value;
      } catch (error) {
        const revision = sent?.revision;
        if (!sent || revision === undefined) throw error;
        log.debug("a commit was not answered", { place, revision, error });
        const isApplied = await core
          .persist(limit, () => wasApplied(limit, { revision, mark }))
          .catch((cause: unknown) => {
            throw new OpenOutcome(`whether revision ${revision} was written is not known`, {
              cause,
            });
          });
        progress.isOpen = false;
        if (!isApplied) throw error;
        core.note(revision);
        return sent.value;
      }
    },
  };
}
