/** What stands in the hub's ledger of its fleet: cells by trust domain, and join tokens by id. */
import { parseKeptToken, putToken, tokensPrefix, type KeptToken } from "../identity/index.ts";
import type { KeyValue, Ledger, Operation } from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";

export type CellRecord = {
  /** Of the key that the domain is bound to. */
  readonly pin: string;
  /** Absent: claimed, and its token not spent yet. */
  readonly cell?: string;
  readonly enrolledAt?: string;
};

export type Fleet = {
  readonly cells: readonly (CellRecord & { readonly trustDomain: string })[];
  readonly tokens: readonly KeptToken[];
};

export const cellsPrefix = "cells/";
export const cellKey = (trustDomain: string) => cellsPrefix + trustDomain;
export const trustDomainOf = (key: string) => key.slice(cellsPrefix.length);

export const putCell = (trustDomain: string, record: CellRecord) => ({
  type: "put" as const,
  key: cellKey(trustDomain),
  value: new TextEncoder().encode(JSON.stringify(record)),
});

export const parseCell = ({ value }: Pick<KeyValue, "value">): CellRecord =>
  JSON.parse(new TextDecoder().decode(value)) as CellRecord;

export async function readFleet(ledger: Ledger): Promise<Fleet> {
  const [cells, tokens] = await Promise.all([ledger.list(cellsPrefix), ledger.list(tokensPrefix)]);
  return {
    cells: cells.items.map((item) => ({
      trustDomain: trustDomainOf(item.key),
      ...parseCell(item),
    })),
    tokens: tokens.items.map(({ value }) => parseKeptToken(value)),
  };
}

const pieceOperations = 100;

/**
 * Takes a fleet over from where it stood before, which is the truth until it is given up there: what an
 * attempt cut short left here is written over. A key's binding and a token's use stay, whoever says so.
 * Throws `ledger-unavailable` and its like; safe to repeat.
 */
export async function takeOverFleet(ledger: Ledger, fleet: Fleet): Promise<void> {
  const there = await readFleet(ledger);
  const cells = new Map(there.cells.map((one) => [one.trustDomain, one]));
  const tokens = new Map(there.tokens.map((one) => [one.token.id, one]));
  const puts: Operation[] = [
    ...fleet.cells.flatMap(({ trustDomain, ...record }) => {
      const known = cells.get(trustDomain);
      const isOlder = known && (known.pin !== record.pin || record.cell === undefined);
      return isOlder ? [] : [putCell(trustDomain, record)];
    }),
    ...fleet.tokens.flatMap((kept) =>
      tokens.get(kept.token.id)?.usedBy === undefined ? [putToken(kept)] : [],
    ),
  ];
  for (let from = 0; from < puts.length; from += pieceOperations) {
    const outcome = await ledger.transact([], puts.slice(from, from + pieceOperations));
    if (outcome.state === "unknown")
      throw new SkerryError({
        code: "ledger-unavailable",
        message: "whether the ledger took over enrolled cells and tokens is not known",
        hint: "start again: it is taken over then",
        retryable: true,
        cause: outcome.cause,
      });
  }
}
