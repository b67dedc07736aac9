/**
 * A transaction of the ledger as etcd's. What the caller gave is copied here, at once. Its answer is
 * read here as well, so that what was asked and what was answered are told in one place.
 */
import { Encoded, type InputOf, type OutputOf } from "./client/wire.ts";
import * as wire from "./client/messages.ts";
import type { Condition, KeyValue, Operation } from "../ledger.ts";
import {
  asBytes,
  asText,
  historyKey,
  keyValueOf,
  readHistoryOp,
  sameHistory,
  type History,
} from "./history.ts";
import type { Slot } from "./slots.ts";

export type Request = InputOf<typeof wire.txnRequest>;
export type Response = OutputOf<typeof wire.txnResponse>;

export type Prepared = {
  readonly when: readonly Condition[];
  readonly operations: readonly Encoded[];
  /** `deletes`: it changes something only if one of these exists. */
  readonly kind: "reads" | "writes" | "deletes";
  readonly deleted: readonly Uint8Array[];
  /** Keys that it puts or deletes. */
  readonly changed: readonly string[];
  /** Leases that its keys hang on. */
  readonly leases: readonly string[];
};

/** Leases are 63-bit numbers; one that is not was another engine's, and is gone: undefined. */
export function leaseNumber(lease: string): bigint | undefined {
  if (!/^[0-9]{1,19}$/.test(lease)) return undefined;
  const id = BigInt(lease);
  return id > 0n && id < 2n ** 63n ? id : undefined;
}

export function prepare(when: readonly Condition[], then: readonly Operation[]): Prepared {
  return {
    when: [...when],
    operations: then.map((operation) => new Encoded(wire.requestOp.encode(requestOf(operation)))),
    kind:
      then.length === 0 ? "reads" : then.some(({ type }) => type === "put") ? "writes" : "deletes",
    deleted: then.filter(({ type }) => type === "delete").map(({ key }) => asBytes(key)),
    changed: then.map(({ key }) => key),
    leases: then.flatMap((operation) =>
      operation.type === "put" && operation.lease !== undefined ? [operation.lease] : [],
    ),
  };
}

function requestOf(operation: Operation): InputOf<typeof wire.requestOp> {
  const key = asBytes(operation.key);
  if (operation.type === "delete") return { deleteRange: { key } };
  const { value, lease } = operation;
  return {
    put: { key, value, ...(lease === undefined ? {} : { lease: leaseNumber(lease) ?? 0n }) },
  };
}

export type Mark = {
  readonly slot: Slot;
  readonly id: Uint8Array;
  /** An earlier attempt may be under way: this one, refused or done, voids it. */
  readonly fence: boolean;
};

export function requestFor(prepared: Prepared, history: History, mark: Mark | undefined): Request {
  return {
    compare: [
      sameHistory(history),
      ...(mark ? [unchanged(mark.slot)] : []),
      ...conditionsOf(prepared, history),
    ],
    success: [...(mark ? markOps(prepared, mark) : []), ...prepared.operations],
    failure: [
      readHistoryOp,
      ...(mark ? [{ range: { key: mark.slot.key } }] : []),
      ...readsOf(prepared),
      ...(mark?.fence
        ? [nested({ compare: [unchanged(mark.slot)], success: [voiding(mark)] })]
        : []),
    ],
  };
}

export const conditionsOf = (
  { when }: Pick<Prepared, "when">,
  { base }: History,
): InputOf<typeof wire.compare>[] =>
  when.map(({ key, modRevision }) => ({
    result: wire.compareEqual,
    target: wire.targetModRevision,
    key: asBytes(key),
    // Of another history, at whose revisions etcd was never: equal to none.
    modRevision: modRevision === 0 ? 0 : Math.max(-1, modRevision - base) || -1,
  }));

/** What stands where the conditions look. */
export const readsOf = ({ when }: Pick<Prepared, "when">) =>
  [...new Set(when.map(({ key }) => key))].map((key) => ({ range: { key: asBytes(key) } }));

export const unchanged = ({ key, modRevision }: Slot): InputOf<typeof wire.compare> => ({
  result: wire.compareEqual,
  target: wire.targetModRevision,
  key,
  modRevision,
});

/** What stands in a slot whose transaction was refused after an attempt of unknown outcome. */
const voiding = ({ slot, id }: Mark) => ({ put: { key: slot.key, value: voidOf(id) } });
const voidOf = (id: Uint8Array) => Buffer.concat([Buffer.from("void "), id]);

export const nested = (transaction: Request) => ({
  transaction: new Encoded(wire.txnRequest.encode(transaction)),
});

type Op = InputOf<typeof wire.requestOp> | Encoded;

/**
 * A mark alone would be a revision that changed nothing, so deletions leave one if they find
 * something; but always when an earlier attempt may still be under way, which it must void.
 */
function markOps(prepared: Prepared, mark: Mark): Op[] {
  const write = { put: { key: mark.slot.key, value: mark.id } };
  if (prepared.kind === "writes" || mark.fence) return [write];
  const chain = prepared.deleted.reduceRight<Op | undefined>(
    (otherwise, key) =>
      nested({
        compare: [{ result: wire.compareGreater, target: wire.targetVersion, key, version: 0 }],
        success: [write],
        failure: otherwise ? [otherwise] : [],
      }),
    undefined,
  );
  return chain ? [chain] : [];
}

export type Answer =
  /** `marked`: the slot holds its id now. */
  | { readonly state: "done"; readonly revision: number; readonly marked: boolean }
  /** `fenced`: the slot was written, so that no earlier attempt can be applied any more. */
  | {
      readonly state: "refused";
      readonly revision: number;
      readonly current: readonly KeyValue[];
      readonly fenced: boolean;
    }
  /** An earlier attempt was refused and its answer lost: it voided all that were sent before this one. */
  | { readonly state: "voided"; readonly modRevision: number }
  /** Others' writes in the slot: nothing was done by this attempt. */
  | { readonly state: "foreign-mark"; readonly modRevision: number }
  | { readonly state: "rewritten" };

export function answerOf(
  prepared: Prepared,
  history: History,
  response: Response,
  mark: Mark | undefined,
): Answer {
  const revision = response.header?.revision ?? 0;
  if (response.succeeded) {
    const effective =
      prepared.kind === "writes" ||
      mark?.fence ||
      response.responses.some(({ deleteRange }) => (deleteRange?.deleted ?? 0) > 0);
    return { state: "done", revision, marked: mark !== undefined && effective };
  }
  const found = foundIn(response);
  const inSlot = mark && found.get(asText(mark.slot.key));
  if (mark && inSlot && Buffer.compare(inSlot.value, mark.id) === 0)
    return { state: "done", revision: inSlot.modRevision, marked: true };
  if (found.get(asText(historyKey))?.modRevision !== history.modRevision)
    return { state: "rewritten" };
  const slotRevision = inSlot?.modRevision ?? 0;
  if (mark && slotRevision !== mark.slot.modRevision) {
    const voided = inSlot && Buffer.compare(inSlot.value, voidOf(mark.id)) === 0;
    return { state: voided ? "voided" : "foreign-mark", modRevision: slotRevision };
  }
  const current = failedAt(prepared, history, found);
  return { state: "refused", revision, current, fenced: mark?.fence ?? false };
}

/** What the reads of an answer found, by key. */
export function foundIn(response: {
  readonly responses: readonly Pick<Response["responses"][number], "range">[];
}): Map<string, wire.WireKeyValue> {
  const found = new Map<string, wire.WireKeyValue>();
  for (const { range } of response.responses)
    for (const keyValue of range?.kvs ?? []) found.set(asText(keyValue.key), keyValue);
  return found;
}

/** Of the conditions that do not hold, the keys that exist. */
export function failedAt(
  { when }: Pick<Prepared, "when">,
  history: History,
  found: ReadonlyMap<string, wire.WireKeyValue>,
): readonly KeyValue[] {
  const failed = when.filter(({ key, modRevision }) => {
    const keyValue = found.get(key);
    return (keyValue ? keyValue.modRevision + history.base : 0) !== modRevision;
  });
  return [...new Set(failed.map(({ key }) => key))].flatMap((key) => {
    const keyValue = found.get(key);
    return keyValue ? [keyValueOf(history, keyValue)] : [];
  });
}
