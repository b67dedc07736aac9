/** What holding an address needs beyond this room; bound in `agent/paths/address-path.ts`. */

/** A CellAddress as the mirror has it. */
export type AddressWish = {
  readonly name: string;
  /** With the length of their network's prefix. */
  readonly addresses: readonly string[];
  readonly interface?: string | undefined;
  /** Whose it is, by what this node heard last. */
  readonly holder?: string | undefined;
};

/** A listener of this node that clients reach under the address as well. */
export type AddressService = {
  readonly name: string;
  /** Listens there too. Throws `port-in-use` or `cannot-listen`. */
  listen(host: string): Promise<{ close(): void | Promise<void> }>;
};

export interface AddressPorts {
  readonly node: string;
  readonly services: readonly AddressService[];
  /** Whose it is by the ledger, not by the mirror: this renews the lease. Throws when no server answers. */
  ask(
    name: string,
    signal: AbortSignal,
  ): Promise<{ readonly holder?: string | undefined } | undefined>;
  /** No server answers; may who held it go on? Only where nobody could give it away meanwhile. */
  mayStay(): boolean;
  /** Says on this Node, by CellAddress, whether it could be held here; null: nothing any more. */
  tell(words: Readonly<Record<string, string | null>>): Promise<void>;
  /** Why this node's listeners cannot serve, in words; undefined when they can. */
  notReady(): string | undefined;
  /** Whether there is another node that could take it over when this one stops. */
  hasOthers(): boolean;
}
