/**
 * Writes that take effect once however often they are sent: what stands in the ledger under the id of
 * such a write, put there by the transaction that did it, or by a refusal, which bars what may still be
 * under way of it.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Once } from "../documents/once.ts";

/** `isFirst`: the same was surely not sent before. */
export type StrongKey = { readonly key: string; readonly isFirst: boolean };

/** `versions`: true is the revision of the receipt itself, null: there was no such document. */
export type Receipt = { readonly of: string } & (
  | {
      readonly done: {
        readonly changed: number;
        readonly versions: readonly (true | number | null)[];
      };
    }
  | { readonly refused: { readonly id?: string; readonly message: string } }
);

const messageCharactersMax = 200;

export const encodeReceipt = (receipt: Receipt): Uint8Array =>
  Buffer.from(
    JSON.stringify(
      "refused" in receipt
        ? {
            ...receipt,
            refused: {
              ...receipt.refused,
              message: receipt.refused.message.slice(0, messageCharactersMax),
            },
          }
        : receipt,
    ),
  );

/** Throws `invalid-query` when it is of another write than this one. */
export function decodeReceipt(value: Uint8Array, { of }: Once): Receipt {
  const receipt = JSON.parse(Buffer.from(value).toString()) as Receipt;
  if (receipt.of === of) return receipt;
  throw new SkerryError({
    code: "invalid-query",
    message: "idempotency-key: another write was sent with it before",
    hint: "a key goes with one write; send the same again under it, or another key",
  });
}

/** What is wrong with what another node wants to keep: a server lets in only what every node can read. */
export function receiptProblemOf(value: Uint8Array): string | undefined {
  try {
    const { of, done, refused, ...more } = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(value),
    ) as Partial<Record<string, unknown>>;
    const isOne = typeof of === "string" && Object.keys(more).length === 0 && !(done && refused);
    if (isOne && (isDone(done) || isRefused(refused))) return undefined;
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  return "the value is no receipt of a write";
}

function isDone(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { changed, versions } = value as Partial<Record<string, unknown>>;
  return (
    Number.isSafeInteger(changed) &&
    Array.isArray(versions) &&
    versions.every((each) => each === true || each === null || Number.isSafeInteger(each))
  );
}

function isRefused(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { id, message } = value as Partial<Record<string, unknown>>;
  return typeof message === "string" && (id === undefined || typeof id === "string");
}
