/** Where join tokens are kept: `createLedgerTokenStore` keeps them in a ledger. */

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
