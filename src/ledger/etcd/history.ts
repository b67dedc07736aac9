/**
 * Where the ledger's revisions stand over etcd's. etcd counts from 1 in every new cluster, and a
 * restored one counts again what the lost one had given away; the ledger's revisions (and with them
 * fences) never go back. So a base is added: one key holds the epoch and the revision at which that
 * key itself stands, and what it was when it was read is a condition of every read and transaction:
 * nothing is ever answered or written under another base than the caller's.
 */
import { SkerryError } from "../../lib/errors.ts";
import { uuid, type Random } from "../../lib/random.ts";
import { unavailable } from "../checks.ts";
import type { Epoch, KeyValue, LeaseId, Revision } from "../ledger.ts";
import type { EtcdClient } from "./client/client.ts";
import * as wire from "./client/messages.ts";
import type { InputOf } from "./client/wire.ts";

/** The engine's own keys begin with a character that no key of the ledger may hold. */
export const ownPrefix = "\x01";
export const historyKey = asBytes(`${ownPrefix}meta/history`);

export type History = {
  readonly epoch: Epoch;
  /** Ledger's revision = etcd's + base. */
  readonly base: number;
  /** The revision that history begins with; older ones are forgotten. */
  readonly first: Revision;
  /** etcd's revision of the key itself. */
  readonly modRevision: number;
};

export function historyOf(keyValue: wire.WireKeyValue): History {
  const { epoch, revision } = JSON.parse(asText(keyValue.value)) as {
    epoch?: unknown;
    revision?: unknown;
  };
  if (typeof epoch !== "string" || !Number.isSafeInteger(revision)) {
    throw new SkerryError({
      code: "store-damaged",
      message: `the ledger's history record is damaged: ${asText(keyValue.value).slice(0, 200)}`,
      hint: "restore a snapshot: skerry restore",
    });
  }
  const { modRevision } = keyValue;
  const first = revision as Revision;
  return { epoch: epoch as Epoch, first, modRevision, base: first - modRevision };
}

/** Conditions of a transaction that hold only while history is the one that was read. */
export const sameHistory = ({ modRevision }: History): InputOf<typeof wire.compare> => ({
  result: wire.compareEqual,
  target: wire.targetModRevision,
  key: historyKey,
  modRevision,
});

export const readHistoryOp = { range: { key: historyKey } };

/** Undefined in a cluster that has none yet. */
export async function readHistory(
  client: EtcdClient,
  timeoutMs: number,
): Promise<{ history: History | undefined; revision: number }> {
  const { kvs, header } = await client.ask(wire.range, { key: historyKey }, { timeoutMs });
  const [found] = kvs;
  return { history: found && historyOf(found), revision: header?.revision ?? 0 };
}

/** Writes the record over what `over` says stands there (0: nothing); false when something else does. */
export async function writeHistory(
  client: EtcdClient,
  record: { epoch: Epoch; revision: number; over: number },
  timeoutMs: number,
): Promise<boolean> {
  const { epoch, revision, over } = record;
  const { succeeded } = await client.attempt(
    wire.txn,
    {
      compare: [{ ...sameHistory({ modRevision: over } as History) }],
      success: [
        {
          put: { key: historyKey, value: asBytes(JSON.stringify({ format: 1, epoch, revision })) },
        },
      ],
    },
    { timeoutMs },
  );
  return succeeded;
}

/** The cluster's history, begun if there is none. Of servers that begin it at once one wins. */
export async function ensureHistory(
  deps: { random: Random },
  client: EtcdClient,
  options: { initial?: { epoch?: Epoch; revision: Revision }; timeoutMs: number },
): Promise<{ history: History; revision: number }> {
  const { initial, timeoutMs } = options;
  const found = await readHistory(client, timeoutMs);
  if (found.history) return { ...found, history: found.history };
  await writeHistory(
    client,
    {
      epoch: initial?.epoch ?? (uuid(deps.random) as Epoch),
      revision: initial?.revision ?? 0,
      over: 0,
    },
    timeoutMs,
  );
  const made = await readHistory(client, timeoutMs);
  if (made.history) return { ...made, history: made.history };
  throw unavailable("the ledger's history record was not written");
}

/** `undefined` for what etcd has no revision for: it lies before the history. */
export function toEtcd(history: History, revision: number): number | undefined {
  return revision < history.first ? undefined : revision - history.base;
}

export function keyValueOf({ base }: History, keyValue: wire.WireKeyValue): KeyValue {
  const { createRevision, modRevision, version, lease } = keyValue;
  const unleased = {
    key: asText(keyValue.key),
    // A copy: the message that it came in may hold a thousand others.
    value: keyValue.value.slice(),
    createRevision: (createRevision + base) as Revision,
    modRevision: (modRevision + base) as Revision,
    version,
  };
  return lease === 0n ? unleased : { ...unleased, lease: String(lease) as LeaseId };
}

/** The ledger's keys are ASCII. */
export function asBytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "latin1"));
}

export function asText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
