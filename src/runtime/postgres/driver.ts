/**
 * What is used of the npm package `pg`, and how it is loaded: at its first use, so that a hub on
 * SQLite and every node never pay for it. Bulk rows go in by the COPY protocol, which `pg` leaves to
 * whoever submits a query of its own (postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY).
 */
import { createRequire } from "node:module";
import type { ConnectionOptions } from "node:tls";

export type Row = Readonly<Record<string, unknown>>;
export type DriverResult = { readonly command: string; readonly rows: readonly Row[] };

type Wire = {
  readonly stream: { destroy(): void };
  query(text: string): void;
  sendCopyFromChunk(chunk: Uint8Array): void;
  endCopyFrom(): void;
};

export interface DriverClient {
  readonly connection: Wire;
  connect(): Promise<unknown>;
  /** Several statements in one text, without values, are answered by a list. */
  query(config: {
    name?: string;
    text: string;
    values?: readonly unknown[];
  }): Promise<DriverResult | readonly DriverResult[]>;
  query(submitted: CopyIn): CopyIn;
  end(): Promise<void>;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "end", listener: () => void): unknown;
}

export type DriverOptions = {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: () => string;
  readonly database: string;
  readonly ssl: false | ConnectionOptions;
  readonly application_name: string;
  readonly connectionTimeoutMillis: number;
  readonly keepAlive: boolean;
  readonly types: { getTypeParser(oid: number, format?: string): (text: string) => unknown };
};

const require = createRequire(import.meta.url);
let loaded: { Client: new (options: DriverOptions) => DriverClient } | undefined;

export const createDriverClient = (options: DriverOptions): DriverClient => {
  loaded ??= require("pg") as NonNullable<typeof loaded>;
  return new loaded.Client(options);
};

/** pg_type.oid */
const parsers: Readonly<Record<number, (text: string) => unknown>> = {
  16: (text) => text === "t",
  17: (text) => Buffer.from(text.slice("\\x".length), "hex"),
  // int8: everything that is counted here stays below 2^53.
  20: Number,
  21: Number,
  23: Number,
  26: Number,
  701: Number,
  1007: (text) => (text === "{}" ? [] : text.slice(1, -1).split(",").map(Number)),
};
const asText = (text: string) => text;

export const driverTypes: DriverOptions["types"] = {
  getTypeParser: (oid) => parsers[oid] ?? asText,
};

/** `COPY … FROM STDIN`, as `pg` calls back what is submitted to it. All chunks are in memory already. */
export class CopyIn {
  readonly #text: string;
  readonly #chunks: readonly Uint8Array[];
  readonly #done = Promise.withResolvers<void>();
  /** `pg` wants to wrap it; nobody is told through it. */
  callback: (error: Error | null) => void = () => {};

  constructor(text: string, chunks: readonly Uint8Array[]) {
    this.#text = text;
    this.#chunks = chunks;
  }

  get done(): Promise<void> {
    return this.#done.promise;
  }

  submit(wire: Wire): null {
    wire.query(this.#text);
    return null;
  }

  handleCopyInResponse(wire: Wire): void {
    for (const chunk of this.#chunks) wire.sendCopyFromChunk(chunk);
    wire.endCopyFrom();
  }

  handleError(error: Error): void {
    this.#done.reject(error);
  }

  handleReadyForQuery(): void {
    this.#done.resolve();
  }

  handleCommandComplete(): void {}
  handleRowDescription(): void {}
  handleDataRow(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}
  handleCopyData(): void {}
}
