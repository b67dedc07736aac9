/**
 * Join tokens in a ledger, the cell's or the hub's: one that any server or hub process gave out can be
 * spent at any other, and once in all. What an earlier version kept in files is read for taking it over.
 */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import { readRecord } from "../../runtime/files/index.ts";
import type { TokenRecord, TokenStore } from "./token-store.ts";

type Entry = { readonly key: string; readonly value: Uint8Array; readonly modRevision: number };
type Put = { readonly type: "put"; readonly key: string; readonly value: Uint8Array };
type Outcome =
  | { readonly state: "done" }
  | { readonly state: "refused" }
  | { readonly state: "unknown"; readonly cause: Error };

/** As much of a `Ledger` as tokens need. */
export interface TokenLedger {
  get(key: string): Promise<{ readonly keyValue: Entry | undefined }>;
  list(prefix: string): Promise<{ readonly items: readonly Entry[] }>;
  transact(
    when: readonly { readonly key: string; readonly modRevision: number }[],
    then: readonly (Put | { readonly type: "delete"; readonly key: string })[],
  ): Promise<Outcome>;
}

export type KeptToken = { readonly token: TokenRecord; readonly usedBy?: string };

export const tokensPrefix = "tokens/";
const keptExpiredMs = 86_400_000;

export function createLedgerTokenStore({
  ledger,
  nowMs,
}: {
  ledger: TokenLedger;
  nowMs: () => number;
}): TokenStore {
  const keyOf = (id: string) => {
    // Ids come over the network.
    if (/^[a-z0-9]{1,64}$/.test(id)) return tokensPrefix + id;
    throw new SkerryError({ code: "invalid-token", message: "token: its id is malformed" });
  };
  const prune = async () => {
    const { items } = await ledger.list(tokensPrefix);
    const old = items.filter(
      ({ value }) => parseKeptToken(value).token.expiresAtMs + keptExpiredMs < nowMs(),
    );
    if (old.length === 0) return;
    await ledger.transact(
      [],
      old.slice(0, 100).map(({ key }) => ({ type: "delete", key })),
    );
  };
  return {
    async put(token) {
      await prune();
      const key = keyOf(token.id);
      const outcome = await ledger.transact([{ key, modRevision: 0 }], [putToken({ token })]);
      if (outcome.state !== "done") throw notKept(outcome);
    },
    async get(id) {
      const { keyValue } = await ledger.get(keyOf(id));
      return keyValue && parseKeptToken(keyValue.value).token;
    },
    async takeOnce(id, by) {
      const key = keyOf(id);
      for (;;) {
        const { keyValue } = await ledger.get(key);
        if (!keyValue) throw notKept({ state: "refused" });
        const { token, usedBy } = parseKeptToken(keyValue.value);
        if (usedBy !== undefined) return usedBy;
        // Refused or unknown: what stands there then decides.
        await ledger.transact(
          [{ key, modRevision: keyValue.modRevision }],
          [putToken({ token, usedBy: by })],
        );
      }
    },
  };
}

/** What an earlier version kept in files, with who used them; none where there is no such folder. */
export function readFolderTokens(folder: string): readonly KeptToken[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((file) => {
    const id = /^([a-z0-9]{1,64})\.json$/.exec(file)?.[1];
    const token = id && (readRecord(join(folder, file)) as TokenRecord | undefined);
    if (!token) return [];
    const used = readRecord(join(folder, `${id}.used`)) as { by: string } | undefined;
    return [{ token, ...(used && { usedBy: used.by }) }];
  });
}

/** Into the ledger, with who used them; the folder is gone afterwards. Safe to repeat. */
export async function takeOverTokens(ledger: TokenLedger, folder: string): Promise<number> {
  const kept = readFolderTokens(folder);
  for (const one of kept) {
    const put = putToken(one);
    const outcome = await ledger.transact([{ key: put.key, modRevision: 0 }], [put]);
    if (outcome.state === "unknown") throw notKept(outcome);
  }
  rmSync(folder, { recursive: true, force: true });
  return kept.length;
}

export const putToken = (kept: KeptToken): Put => ({
  type: "put",
  key: tokensPrefix + kept.token.id,
  value: new TextEncoder().encode(JSON.stringify(kept)),
});

export const parseKeptToken = (value: Uint8Array): KeptToken =>
  JSON.parse(new TextDecoder().decode(value)) as KeptToken;

const notKept = (outcome: Exclude<Outcome, { state: "done" }>) =>
  new SkerryError({
    code: "ledger-unavailable",
    message: "the ledger did not keep the token",
    hint: "create another one",
    retryable: true,
    cause: outcome.state === "unknown" ? outcome.cause : undefined,
  });
