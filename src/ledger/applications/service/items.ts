/** Between the ledger's key-values and what an application is told. */
import type { KeyValue, LedgerEvent, TransactionOutcome } from "../../ledger.ts";
import { encodeError } from "../../../lib/errors.ts";
import type { Change, CoordinationAnswer, Holder, Item } from "../coordination.ts";
import type { Namespace } from "../namespace.ts";

export function itemOf({ keys }: Namespace, keyValue: KeyValue): Item {
  const { key, value, createRevision, modRevision, version, lease } = keyValue;
  return {
    key: key.slice(keys.length),
    value: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64"),
    createRevision,
    modRevision,
    version,
    ...(lease === undefined ? {} : { session: lease }),
  };
}

export function changeOf(namespace: Namespace, event: LedgerEvent): Change {
  return event.type === "put"
    ? { type: "put", ...itemOf(namespace, event.keyValue) }
    : { type: "delete", key: event.key.slice(namespace.keys.length) };
}

/** What stands in a claim's key besides its lease, which is the session. */
type ClaimValue = { readonly id?: string | undefined; readonly value?: string | undefined };

export const claimBytes = ({ id, value }: ClaimValue): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ id, value }));

export function holderOf(keyValue: KeyValue): Holder {
  const { id, value } = JSON.parse(new TextDecoder().decode(keyValue.value)) as ClaimValue;
  return {
    token: keyValue.modRevision,
    session: keyValue.lease ?? "",
    ...(id === undefined ? {} : { id }),
    ...(value === undefined ? {} : { value }),
  };
}

export const unknownOf = ({ cause }: TransactionOutcome & { state: "unknown" }) =>
  ({ state: "unknown", cause: encodeError(cause) }) satisfies CoordinationAnswer;
