/** What the bench of a returning hub says to the process that plays the cells, and what that says back. */
import type { Credentials, Trust } from "../../../src/transport/index.ts";

export type CellIdentity = { readonly name: string; readonly credentials: Credentials };

export type Around = {
  readonly cells: readonly CellIdentity[];
  readonly hub: { readonly host: string; readonly port: number };
  /** The hub's own domain. */
  readonly trust: Trust;
};

/** Times of `Date.now()`: processes of one machine share them. */
export type Met = {
  readonly startedMs: number;
  /** Of each cell, when it had everything answered. */
  readonly doneMs: readonly number[];
  /** Tries that ended without a link, and requests that were refused. */
  readonly failures: number;
};

export type Commands = {
  /** As many TLS handshakes as there are cells, all at once, each until a byte of the server's came. */
  bare(around: Around): Promise<Met>;
  /** Every cell calls the hub; resolves when each has had a batch acknowledged. */
  connect(around: Around): Promise<Met>;
  /** The same once more, after the hub was lost; links call again by themselves. */
  again(): Promise<Met>;
};
