/**
 * Where join tokens are kept. `createFolderTokenStore` keeps them as small files, one a token, so
 * that the command line may create one beside a running server; a cell of several servers binds the
 * port to its ledger instead.
 */
import { linkSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SkerryError, systemCode } from "../../lib/errors.ts";
import {
  ensureDirectory,
  readRecord,
  syncDirectory,
  writeRecord,
} from "../../runtime/files/index.ts";

export type TokenRecord = {
  readonly id: string;
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  readonly expiresAtMs: number;
  /** Who may use it; absent: anybody. */
  readonly name?: string;
  /** The node that joins with it shall become a server, and be handed the cell's authority. */
  readonly server?: boolean;
};

export interface TokenStore {
  put(record: TokenRecord): Promise<void>;
  get(id: string): Promise<TokenRecord | undefined>;
  /** Binds the token to its first user, atomically and durably; answers who that is. */
  takeOnce(id: string, by: string): Promise<string>;
}

/** Records of tokens expired for longer than this are removed when another is put. */
const keepExpiredMs = 86_400_000;

export function createFolderTokenStore(deps: { nowMs: () => number }, folder: string): TokenStore {
  const path = (id: string, ending: "json" | "used") => {
    // Ids come over the network.
    if (/^[a-z0-9]{1,64}$/.test(id)) return join(folder, `${id}.${ending}`);
    throw new SkerryError({ code: "invalid-token", message: `token: its id is malformed` });
  };
  const read = (id: string) => readRecord(path(id, "json")) as TokenRecord | undefined;
  const prune = () => {
    for (const file of readdirSync(folder)) {
      const id = /^([a-z0-9]+)\.json$/.exec(file)?.[1];
      const record = id === undefined ? undefined : read(id);
      if (!record || record.expiresAtMs + keepExpiredMs > deps.nowMs()) continue;
      rmSync(path(record.id, "json"), { force: true });
      rmSync(path(record.id, "used"), { force: true });
    }
  };
  return {
    async put(record) {
      ensureDirectory(folder);
      prune();
      writeRecord(path(record.id, "json"), record);
    },
    async get(id) {
      return read(id);
    },
    async takeOnce(id, by) {
      const used = path(id, "used");
      const mine = `${used}.${Buffer.from(by).toString("hex").slice(0, 64)}`;
      // A hard link is made whole or not at all, and only once.
      writeRecord(mine, { by });
      try {
        linkSync(mine, used);
      } catch (error) {
        if (systemCode(error) !== "EEXIST") throw error;
      } finally {
        rmSync(mine, { force: true });
      }
      syncDirectory(folder);
      return (readRecord(used) as { by: string }).by;
    },
  };
}
