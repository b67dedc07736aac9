/**
 * What every ledger refuses before it touches anything, and the errors all of them throw. The
 * limits are the smallest of the engines', so that what one accepts no other refuses.
 */
import { SkerryError } from "../lib/errors.ts";
import type { Condition, Operation, Revision } from "./ledger.ts";

export const keyBytesMax = 1024;
export const valueBytesMax = 1024 * 1024;
export const operationsMax = 128;
export const transactionBytesMax = 1_310_720;
const ttlMsMax = 365 * 86_400_000;

/** Sorts after every key that starts with `prefix`: keys end at "~". */
export const endOfPrefix = (prefix: string) => `${prefix}\x7f`;

/** Throws `invalid-transaction` naming the condition or operation and what is allowed. */
export function checkTransaction(when: readonly Condition[], then: readonly Operation[]): void {
  for (const [index, { key, modRevision }] of when.entries()) {
    checkKey(`when[${index}].key`, key);
    if (!Number.isSafeInteger(modRevision) || modRevision < 0)
      throw invalid(`when[${index}].modRevision: ${modRevision} is not a revision`);
  }
  if (when.length > operationsMax || then.length > operationsMax) {
    throw invalid(
      `${when.length} conditions and ${then.length} operations: at most ${operationsMax} of each`,
    );
  }
  const seen = new Set<string>();
  let bytes = 0;
  for (const [index, operation] of then.entries()) {
    const field = `then[${index}]`;
    checkKey(`${field}.key`, operation.key);
    if (seen.has(operation.key))
      throw invalid(`${field}.key: "${operation.key}" stands twice among the operations`);
    seen.add(operation.key);
    bytes += operation.key.length;
    if (operation.type === "delete") continue;
    if (!(operation.value instanceof Uint8Array))
      throw invalid(`${field}.value: must be bytes (Uint8Array)`);
    if (operation.value.byteLength > valueBytesMax) {
      throw invalid(
        `${field}.value: ${operation.value.byteLength} bytes for "${operation.key}", at most ${valueBytesMax}`,
      );
    }
    bytes += operation.value.byteLength;
  }
  if (bytes > transactionBytesMax)
    throw invalid(`${bytes} bytes of keys and values, at most ${transactionBytesMax}`);
}

/** Throws `invalid-transaction` for anything but 1 to 1024 printable ASCII characters. */
export function checkKey(field: string, key: string): void {
  if (typeof key !== "string" || key.length > keyBytesMax || !/^[ -~]+$/.test(key)) {
    throw invalid(
      `${field}: ${JSON.stringify(key)?.slice(0, 80)} is not a key: 1 to ${keyBytesMax} printable ASCII characters`,
    );
  }
}

/** As `checkKey`, but a prefix may be empty. */
export function checkPrefix(prefix: string): void {
  if (prefix !== "") checkKey("prefix", prefix);
}

/** Throws `invalid-ttl`. */
export function checkTtl(ttlMs: number): void {
  if (ttlMs > 0 && ttlMs <= ttlMsMax) return;
  throw new SkerryError({
    code: "invalid-ttl",
    message: `ttlMs: ${ttlMs} is not a time to live`,
    hint: `give milliseconds above 0 and at most ${ttlMsMax}`,
  });
}

const invalid = (message: string) =>
  new SkerryError({
    code: "invalid-transaction",
    message,
    hint: "correct the request; nothing was changed",
  });

export const compacted = (asked: Revision, compactedRevision: Revision) =>
  new SkerryError({
    code: "compacted",
    message: `revision ${asked} is forgotten: history starts at ${compactedRevision}`,
    hint: "list again and watch from the revision of that list",
    details: { compactedRevision },
  });

export const futureRevision = (asked: Revision, revision: Revision) =>
  new SkerryError({
    code: "future-revision",
    message: `revision ${asked} does not exist yet: the ledger is at ${revision}`,
    hint: "the revision comes from another history: compare the epoch, list again",
    details: { revision },
  });

export const leaseNotFound = (lease: string) =>
  new SkerryError({
    code: "lease-not-found",
    message: `lease ${lease} is gone: expired or revoked`,
    hint: "grant a new lease and write again what hung on the old one",
    details: { lease },
  });

/** A snapshot never overwrites. */
export const fileExists = (path: string) =>
  new SkerryError({
    code: "file-exists",
    message: `${path} exists already`,
    hint: "give the path of a new file; nothing was overwritten",
  });

/** Nothing was changed by the call that gets this. */
export const unavailable = (message: string, cause?: unknown) =>
  new SkerryError({
    code: "ledger-unavailable",
    message,
    hint: "the call changed nothing; try again",
    retryable: true,
    cause,
  });
