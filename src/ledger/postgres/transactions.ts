/** `Ledger.transact` under the lock of `writes.ts`. */
import type { Session } from "../../runtime/postgres/index.ts";
import { checkTransaction, leaseNotFound } from "../checks.ts";
import type {
  Condition,
  KeyValue,
  Ledger,
  Operation,
  Revision,
  TransactionOutcome,
} from "../ledger.ts";
import type { Core } from "./core.ts";
import { columns, keyValueOf } from "./rows.ts";
import { OpenOutcome, type Change, type Work, type Writes } from "./writes.ts";

type Standing = {
  readonly createRevision: Revision;
  readonly revision: Revision;
  readonly version: number;
};

export function createTransactions(core: Core, writes: Writes): Ledger["transact"] {
  return async (when, then, options = {}) => {
    core.assertOpen();
    checkTransaction(when, then);
    options.signal?.throwIfAborted();
    const conditions = [...when];
    const operations = then.map(owned);
    const progress = { isOpen: false };
    try {
      return await core.call(options, (limit) =>
        writes.write(limit, applying(conditions, operations), progress),
      );
    } catch (error) {
      const isGivenUp = options.signal?.aborted === true && error === options.signal.reason;
      if (!isGivenUp && !progress.isOpen && !(error instanceof OpenOutcome)) throw error;
      return { state: "unknown", cause: error instanceof Error ? error : new Error(String(error)) };
    }
  };
}

const applying =
  (when: readonly Condition[], then: readonly Operation[]): Work<TransactionOutcome> =>
  async (session, { state, add }) => {
    const standing = await standingOf(session, [...when, ...then]);
    const failed = when.filter(
      ({ key, modRevision }) => (standing.get(key)?.revision ?? 0) !== modRevision,
    );
    const { revision } = state;
    if (failed.length > 0) {
      const current = await currentOf(session, [...new Set(failed.map(({ key }) => key))]);
      return { value: { state: "refused", revision, current } };
    }
    await assertLeases(session, then);
    const changes = then.flatMap((operation) => changeOf(operation, standing.get(operation.key)));
    if (changes.length === 0) return { value: { state: "done", revision } };
    const next = await add(changes);
    return { value: { state: "done", revision: next }, revision: next };
  };

function changeOf(operation: Operation, before: Standing | undefined): Change[] {
  const { key } = operation;
  if (operation.type === "delete")
    return before ? [{ key, value: null, createRevision: before.createRevision, version: 0 }] : [];
  const { value, lease } = operation;
  return [
    {
      key,
      value,
      createRevision: before?.createRevision,
      version: (before?.version ?? 0) + 1,
      lease,
    },
  ];
}

async function standingOf(
  session: Session,
  named: readonly { readonly key: string }[],
): Promise<ReadonlyMap<string, Standing>> {
  const rows = await session.query(
    `SELECT key, create_revision, revision, version FROM skerry_ledger.history
     WHERE key = ANY($1::text[]) AND superseded IS NULL`,
    [[...new Set(named.map(({ key }) => key))]],
  );
  return new Map(
    rows.map((row) => [
      String(row["key"]),
      {
        createRevision: Number(row["create_revision"]) as Revision,
        revision: Number(row["revision"]) as Revision,
        version: Number(row["version"]),
      },
    ]),
  );
}

async function currentOf(session: Session, keys: readonly string[]): Promise<KeyValue[]> {
  const rows = await session.query(
    `SELECT ${columns} FROM skerry_ledger.history h
     JOIN unnest($1::text[]) WITH ORDINALITY AS asked(key, n) ON h.key = asked.key
     WHERE h.superseded IS NULL ORDER BY n`,
    [keys],
  );
  return rows.map(keyValueOf).filter((keyValue) => keyValue !== undefined);
}

/** Throws `lease-not-found`. Who takes a lease away holds the lock as well. */
async function assertLeases(session: Session, then: readonly Operation[]): Promise<void> {
  const leases = new Set(
    then.flatMap((one) => (one.type === "put" && one.lease !== undefined ? [one.lease] : [])),
  );
  if (leases.size === 0) return;
  const rows = await session.query(
    "SELECT lease FROM skerry_ledger.lease WHERE lease = ANY($1::text[])",
    [[...leases]],
  );
  const there = new Set(rows.map((row) => row["lease"]));
  for (const lease of leases) if (!there.has(lease)) throw leaseNotFound(lease);
}

/** The caller may reuse its buffer before it is sent. */
const owned = (operation: Operation): Operation =>
  operation.type === "put"
    ? { ...operation, value: new Uint8Array(operation.value) }
    : { ...operation };
