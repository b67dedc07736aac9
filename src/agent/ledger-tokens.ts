/**
 * Join tokens in the cell's ledger: one that any server gave out can be spent at any other, and once in
 * the whole cell. What an earlier version kept in files is taken over.
 */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { TokenRecord, TokenStore } from "../identity/index.ts";
import type { KeyValue, Ledger } from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";
import { readRecord } from "../runtime/files/index.ts";

type Kept = { readonly token: TokenRecord; readonly usedBy?: string };

const prefix = "tokens/";
const keptExpiredMs = 86_400_000;

export function createLedgerTokenStore({
  ledger,
  nowMs,
}: {
  ledger: Ledger;
  nowMs: () => number;
}): TokenStore {
  const keyOf = (id: string) => {
    // Ids come over the network.
    if (/^[a-z0-9]{1,64}$/.test(id)) return prefix + id;
    throw new SkerryError({ code: "invalid-token", message: "token: its id is malformed" });
  };
  const prune = async () => {
    const { items } = await ledger.list(prefix);
    const old = items.filter((item) => parse(item).token.expiresAtMs + keptExpiredMs < nowMs());
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
      const outcome = await ledger.transact([{ key, modRevision: 0 }], [put(key, { token })]);
      if (outcome.state !== "done") throw notKept(outcome);
    },
    async get(id) {
      const { keyValue } = await ledger.get(keyOf(id));
      return keyValue && parse(keyValue).token;
    },
    async takeOnce(id, by) {
      const key = keyOf(id);
      for (;;) {
        const { keyValue } = await ledger.get(key);
        if (!keyValue) throw notKept({ state: "refused" });
        const { token, usedBy } = parse(keyValue);
        if (usedBy !== undefined) return usedBy;
        // Refused or unknown: what stands there then decides.
        await ledger.transact(
          [{ key, modRevision: keyValue.modRevision }],
          [put(key, { token, usedBy: by })],
        );
      }
    },
  };
}

/** Into the ledger, with who used them; the folder is gone afterwards. Safe to repeat. */
export async function takeOverTokens(ledger: Ledger, folder: string): Promise<number> {
  if (!existsSync(folder)) return 0;
  const ids = readdirSync(folder).flatMap(
    (file) => /^([a-z0-9]{1,64})\.json$/.exec(file)?.[1] ?? [],
  );
  for (const id of ids) {
    const token = readRecord(join(folder, `${id}.json`)) as TokenRecord | undefined;
    const used = readRecord(join(folder, `${id}.used`)) as { by: string } | undefined;
    if (!token) continue;
    const key = prefix + id;
    const outcome = await ledger.transact(
      [{ key, modRevision: 0 }],
      [put(key, { token, ...(used && { usedBy: used.by }) })],
    );
    if (outcome.state === "unknown") throw notKept(outcome);
  }
  rmSync(folder, { recursive: true, force: true });
  return ids.length;
}

const put = (key: string, value: Kept) => ({
  type: "put" as const,
  key,
  value: new TextEncoder().encode(JSON.stringify(value)),
});
const parse = ({ value }: KeyValue): Kept => JSON.parse(new TextDecoder().decode(value)) as Kept;

const notKept = (outcome: { state: "refused" } | { state: "unknown"; cause: Error }) =>
  new SkerryError({
    code: "ledger-unavailable",
    message: "the ledger did not keep the token",
    hint: "create another one",
    retryable: true,
    cause: outcome.state === "unknown" ? outcome.cause : undefined,
  });
