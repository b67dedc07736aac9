/** What the bench of documents says to the processes that hold a store, and what each says back. */
import type { Credentials, Trust } from "../../../src/transport/index.ts";
import type { Endpoint } from "../senders/tls.ts";

export type Identity = {
  readonly credentials: Credentials;
  readonly trust: Trust;
  /** For peers that speak plain TLS. */
  readonly server: { readonly key: string; readonly cert: string; readonly ca: string };
  readonly endpoint: Omit<Endpoint, "host" | "port">;
};

export type Commands = {
  /** Opens a store in `folder`; a receiver listens and says where. */
  open(options: {
    folder: string;
    name: string;
    identity: Identity;
    listens: boolean;
    /** Where the peer's packages are installed; Skerry's own need none. */
    packages?: string;
  }): Promise<number>;
  /** Writes documents `from` to `to`, a hundred a request, eight requests at a time. */
  writeMany(options: { from: number; to: number; version: number }): Promise<void>;
  /** One document a request, after each other. */
  writeOne(options: { at: number; version: number }): Promise<void>;
  read(options: { at: number }): Promise<void>;
  /** Resolves when the receiver behind `port` holds all that this store holds. */
  replicate(options: { port: number }): Promise<void>;
  count(): Promise<number>;
  close(): Promise<void>;
};

export const concurrent = 8;
export const perRequest = 100;
export const host = "127.0.0.1";

export type Body = Readonly<Record<string, string | number | boolean>>;
