/**
 * Reads: one statement each, so that what it answers and the revision that it tells are of one moment,
 * after the call. PostgreSQL shows a commit to others before it acknowledges it, and never one that its
 * disk has not: a read is linearizable on the server that writes, and no other is asked.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Row } from "../../runtime/postgres/index.ts";
import { checkKey, checkPrefix, endOfPrefix, futureRevision } from "../checks.ts";
import type { KeyValue, Ledger, Revision, WatchBatch, LedgerEvent } from "../ledger.ts";
import type { CallOptions, Core } from "./core.ts";
import {
  assertReadable,
  columns,
  keyValueOf,
  standsNow,
  stateColumns,
  stateOf,
  stoodAt,
  type State,
} from "./rows.ts";

export type Page = {
  /** Whole revisions after the one asked for. */
  readonly batches: readonly WatchBatch[];
  /** How far they reach. */
  readonly upTo: Revision;
};

export interface Reads extends Pick<Ledger, "get" | "list"> {
  state(options?: CallOptions): Promise<State>;
  /** What touched `prefix` after `after`, up to about a MiB. Throws `compacted`, `future-revision`. */
  batches(prefix: string, after: Revision, options: CallOptions): Promise<Page>;
}

/** A page of history ends behind the revision that fills it. */
const pageBytesMax = 1024 * 1024;
const pageRevisionsMax = 4096;

const getSql = (stands: string) =>
  `SELECT ${stateColumns}, ${columns} FROM skerry_ledger.state s
   LEFT JOIN skerry_ledger.history h ON h.key = $1 AND ${stands}`;
const listSql = (stands: string) =>
  `SELECT ${stateColumns}, ${columns} FROM skerry_ledger.state s
   LEFT JOIN LATERAL (
     SELECT * FROM skerry_ledger.history h
     WHERE h.key > $1 AND h.key >= $2 AND h.key < $3 AND ${stands}
     ORDER BY h.key LIMIT $4) h ON true
   ORDER BY h.key`;
const batchesSql = `
  SELECT ${stateColumns}, h.last, ${columns}, p.value AS p_value,
    p.create_revision AS p_create_revision, p.revision AS p_revision, p.version AS p_version,
    p.lease AS p_lease
  FROM skerry_ledger.state s
  LEFT JOIN LATERAL (
    SELECT *, max(revision) OVER () AS last,
      sum(256 + coalesce(octet_length(value), 0))
        OVER (ORDER BY revision GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM skerry_ledger.history
    WHERE revision > $1 AND revision <= $2 AND key >= $3 AND key < $4) h
    ON coalesce(h.before, 0) < ${pageBytesMax}
  LEFT JOIN LATERAL (
    SELECT * FROM skerry_ledger.history
    WHERE key = h.key AND revision < h.revision ORDER BY revision DESC LIMIT 1) p ON true
  ORDER BY h.revision, h.position`;

export function createReads(core: Core): Reads {
  /** Asks, and takes note of how far the ledger has come. */
  const read = async (
    text: string,
    values: readonly unknown[],
    options: CallOptions | undefined,
  ): Promise<{ rows: readonly Row[]; state: State }> => {
    const before = core.seen();
    const rows = await core.ask((session) => session.query(text, values), options);
    const state = stateOf(rows[0]);
    core.note(state.revision, before);
    return { rows, state };
  };

  return {
    async state(options) {
      return (await read(`SELECT ${stateColumns} FROM skerry_ledger.state s`, [], options)).state;
    },

    async get(key, { atRevision, ...options } = {}) {
      checkKey("key", key);
      assertRevision(atRevision, core);
      const { rows, state } =
        atRevision === undefined
          ? await read(getSql(standsNow), [key], options)
          : await read(getSql(stoodAt("$2")), [key, atRevision], options);
      const revision = atRevision ?? state.revision;
      assertReadable(revision, state);
      return { keyValue: keyValueOf(rows[0]), revision };
    },

    async list(prefix, { atRevision, limit, after = "", ...options } = {}) {
      checkPrefix(prefix);
      assertRevision(atRevision, core);
      if (limit !== undefined && !(limit >= 1))
        throw new SkerryError({
          code: "invalid-limit",
          message: `limit: ${limit} is not a number of keys`,
          hint: "give 1 or more",
        });
      const itemsMax = limit === undefined ? undefined : Math.floor(limit);
      const range = [after, prefix, endOfPrefix(prefix), itemsMax && itemsMax + 1];
      const { rows, state } =
        atRevision === undefined
          ? await read(listSql(standsNow), range, options)
          : await read(listSql(stoodAt("$5")), [...range, atRevision], options);
      const revision = atRevision ?? state.revision;
      assertReadable(revision, state);
      const found = rows.map(keyValueOf).filter((keyValue) => keyValue !== undefined);
      const more = itemsMax !== undefined && found.length > itemsMax;
      return { items: more ? found.slice(0, -1) : found, revision, more };
    },

    async batches(prefix, after, options) {
      const end = after + pageRevisionsMax;
      const range = [after, end, prefix, endOfPrefix(prefix)];
      const { rows, state } = await read(batchesSql, range, options);
      assertReadable(after, state);
      const batches = batchesOf(rows);
      const last = Number(rows[0]?.["last"] ?? 0);
      const reached = batches.at(-1)?.revision ?? 0;
      const upTo = reached < last ? reached : Math.min(state.revision, end);
      return { batches, upTo: upTo as Revision };
    },
  };
}

/** What no revision can be is not asked of PostgreSQL. */
function assertRevision(asked: Revision | undefined, core: Core): void {
  core.assertOpen();
  if (asked !== undefined && !Number.isSafeInteger(asked)) throw futureRevision(asked, core.seen());
}

function batchesOf(rows: readonly Row[]): WatchBatch[] {
  const batches: { revision: Revision; events: LedgerEvent[] }[] = [];
  for (const row of rows) {
    if (row["key"] === null) continue;
    const revision = Number(row["revision"]) as Revision;
    let batch = batches.at(-1);
    if (batch?.revision !== revision) batches.push((batch = { revision, events: [] }));
    batch.events.push(eventOf(row));
  }
  return batches;
}

function eventOf(row: Row): LedgerEvent {
  const keyValue = keyValueOf(row);
  const previous = previousOf(row);
  const rest = previous === undefined ? {} : { previous };
  return keyValue
    ? { type: "put", keyValue, ...rest }
    : { type: "delete", key: String(row["key"]), ...rest };
}

const previousOf = (row: Row): KeyValue | undefined =>
  keyValueOf({
    key: row["key"],
    value: row["p_value"],
    create_revision: row["p_create_revision"],
    revision: row["p_revision"],
    version: row["p_version"],
    lease: row["p_lease"],
  });
