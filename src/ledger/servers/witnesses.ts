/** The witnesses that administrators added, in the ledger: who they are, and how long their leaves are good. */
import { SkerryError } from "../../lib/errors.ts";
import type { Ledger } from "../ledger.ts";

const prefix = "servers/witnesses/";

export type WitnessEntry = {
  readonly name: string;
  /** Where the cell's servers reach it. */
  readonly host: string;
  readonly port: number;
  /** Decimal. */
  readonly memberId: string;
  /** Of the newest leaf that was made for it; milliseconds since 1970. */
  readonly issuedMs: number;
  readonly notAfterMs: number;
};

export interface WitnessBook {
  all(): Promise<readonly WitnessEntry[]>;
  keep(entry: WitnessEntry): Promise<void>;
}

/**
 * Entries of witnesses that were removed stay until the name is used again: they tell a name that was
 * a witness from one that never was anything. Throws `ledger-unavailable`.
 */
export function createWitnessBook(ledger: Pick<Ledger, "list" | "transact">): WitnessBook {
  return {
    async all() {
      const { items } = await ledger.list(prefix);
      return items.map(({ value }) => JSON.parse(new TextDecoder().decode(value)) as WitnessEntry);
    },
    async keep(entry) {
      const value = new TextEncoder().encode(JSON.stringify(entry));
      const outcome = await ledger.transact(
        [],
        [{ type: "put", key: `${prefix}${entry.name}`, value }],
      );
      if (outcome.state !== "unknown") return;
      throw new SkerryError({
        code: "ledger-unavailable",
        message: `whether the ledger took the witness ${entry.name} is not known`,
        hint: "the same command goes on from there",
        retryable: true,
        cause: outcome.cause,
      });
    },
  };
}

/** A leaf is renewed from half its life on: there is a person in it, who may be away for months. */
export const witnessLeafIsDue = (
  { issuedMs, notAfterMs }: Pick<WitnessEntry, "issuedMs" | "notAfterMs">,
  nowMs: number,
): boolean => nowMs > issuedMs + (notAfterMs - issuedMs) / 2;
