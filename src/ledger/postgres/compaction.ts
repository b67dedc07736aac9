/**
 * Forgetting history, by itself and in small pieces. All processes of a database do it; what one has
 * begun another goes on with.
 */
import { every } from "../../lib/clock.ts";
import { futureRevision } from "../checks.ts";
import type { Revision } from "../ledger.ts";
import { createRetention, retentionOf, type Retention } from "../retention.ts";
import type { Core } from "./core.ts";
import type { Reads } from "./reads.ts";
import type { Writes } from "./writes.ts";

const rowsPerPiece = 500;

export interface Compaction {
  /** Resolves when no row of the forgotten history is left. Throws `future-revision`. */
  compact(revision: Revision): Promise<void>;
  close(): void;
}

export function createCompaction(
  core: Core,
  { reads, writes }: { reads: Reads; writes: Writes },
  options: Partial<Retention>,
): Compaction {
  const { clock, log } = core.deps;
  const retention = retentionOf(options);
  const mayGo = createRetention({ clock }, { retention, revision: core.seen() });

  const sweep = async () => {
    const rows = await core.ask((session) =>
      session.query(
        `DELETE FROM skerry_ledger.history WHERE (revision, position) IN (
           SELECT revision, position FROM skerry_ledger.history
           WHERE superseded <= (SELECT compacted FROM skerry_ledger.state)
           LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING revision`,
        [rowsPerPiece],
      ),
    );
    return rows.length;
  };

  const compact = async (revision: Revision) => {
    if (!Number.isSafeInteger(revision)) throw futureRevision(revision, core.seen());
    await core.call({}, (limit) =>
      writes.write(limit, async (session, { state }) => {
        if (revision > state.revision) throw futureRevision(revision, state.revision);
        await session.query("UPDATE skerry_ledger.state SET compacted = $1 WHERE compacted < $1", [
          revision,
        ]);
        return { value: undefined };
      }),
    );
    while (!core.closed.aborted && (await sweep()) > 0) continue;
  };

  const timer = every(
    clock,
    retention.periodMs,
    async () => {
      const { revision, compacted } = await reads.state();
      const target = mayGo(revision);
      if (target > compacted) await compact(target as Revision);
    },
    (error) => {
      if (!core.closed.aborted) log.warn("history not compacted", { error });
    },
  );

  return { compact, close: () => timer.cancel() };
}
