/**
 * Leases: which there are, and how often each was renewed, stands in PostgreSQL; every open ledger looks
 * at them and ends those that ran out, on condition that nobody renewed them meanwhile.
 */
import { every } from "../../lib/clock.ts";
import { uuid } from "../../lib/random.ts";
import type { Session } from "../../runtime/postgres/index.ts";
import { checkTtl, leaseNotFound, unavailable } from "../checks.ts";
import type { LeaseId, Ledger, Revision } from "../ledger.ts";
import type { Core } from "./core.ts";
import { createObserver, type LeaseRow } from "./observer.ts";
import { OpenOutcome, type Work, type Writes } from "./writes.ts";

const lookMs = 500;
/** A look that is later than the next two tells of an outage. */
const stallMs = 3 * lookMs;

export interface Leases extends Pick<Ledger, "grant" | "renew" | "revoke"> {
  close(): void;
}

export function createLeases(core: Core, writes: Writes, options: { ttlMsMin: number }): Leases {
  const { clock, random, log } = core.deps;
  const observe = createObserver({ clock }, { stallMs });

  const look = async () => {
    const sentMs = clock.monotonicMs();
    const rows = await core.ask((session) =>
      session.query("SELECT lease, ttl_ms, renewals FROM skerry_ledger.lease"),
    );
    const leases = rows.map((row) => ({
      lease: String(row["lease"]) as LeaseId,
      ttlMs: Number(row["ttl_ms"]),
      renewals: Number(row["renewals"]),
    }));
    for (const ended of observe(leases, sentMs)) {
      const keys = await core.call({}, (limit) => writes.write(limit, removing(ended)));
      if (keys !== undefined) log.info("lease expired", { lease: ended.lease, keys });
    }
  };
  let isTold = false;
  const looks = every(
    clock,
    lookMs,
    async () => {
      await look();
      isTold = false;
    },
    (error) => {
      // Once an outage.
      if (!core.closed.aborted && !isTold) log.warn("leases cannot be looked at", { error });
      isTold = true;
    },
  );

  return {
    async grant(ttlMs) {
      core.assertOpen();
      checkTtl(ttlMs);
      const effectiveMs = Math.max(Math.ceil(ttlMs), options.ttlMsMin);
      const lease = uuid(random) as LeaseId;
      await core.ask((session) =>
        session.query(
          "INSERT INTO skerry_ledger.lease(lease, ttl_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING",
          [lease, effectiveMs],
        ),
      );
      return { lease, ttlMs: effectiveMs };
    },

    async renew(lease) {
      const [row] = await core.ask((session) =>
        session.query(
          `UPDATE skerry_ledger.lease SET renewals = renewals + 1 WHERE lease = $1
           RETURNING ttl_ms`,
          [lease],
        ),
      );
      if (!row) throw leaseNotFound(lease);
      return { ttlMs: Number(row["ttl_ms"]) };
    },

    async revoke(lease) {
      try {
        await core.call({}, (limit) => writes.write(limit, removing({ lease })));
      } catch (error) {
        throw error instanceof OpenOutcome
          ? unavailable(`whether lease ${lease} was revoked is not known`, error)
          : error;
      }
    },

    close: () => looks.cancel(),
  };
}

/** Answers how many keys went with it, undefined where there is no such lease, or it was renewed. */
const removing =
  ({ lease, renewals }: Pick<LeaseRow, "lease"> & Partial<LeaseRow>): Work<number | undefined> =>
  async (session, { add }) => {
    const gone = await session.query(
      `DELETE FROM skerry_ledger.lease WHERE lease = $1 AND renewals = coalesce($2, renewals)
       RETURNING lease`,
      [lease, renewals],
    );
    if (gone.length === 0) return { value: undefined };
    const changes = await keysOf(session, lease);
    if (changes.length === 0) return { value: 0 };
    return { value: changes.length, revision: await add(changes) };
  };

async function keysOf(session: Session, lease: LeaseId) {
  const rows = await session.query(
    `SELECT key, create_revision FROM skerry_ledger.history
     WHERE lease = $1 AND superseded IS NULL ORDER BY key`,
    [lease],
  );
  return rows.map((row) => ({
    key: String(row["key"]),
    value: null,
    createRevision: Number(row["create_revision"]) as Revision,
    version: 0,
  }));
}
