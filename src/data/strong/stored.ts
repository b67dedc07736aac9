/** A document of a strong collection as it stands in the ledger. */
import { isObject, type JsonObject } from "../documents/json.ts";
import type { StrongItem } from "../ports.ts";

/** With what goes around it, below the largest value that the ledger takes (64 KiB). */
export const strongDocumentBytesMax = 60 * 1024;

export type Stored = {
  /** The ledger's revision of its last change. */
  readonly revision: number;
  readonly schemaVersion: number;
  readonly body: JsonObject;
};

/** As a reader of a collection that merges is told it, and what only a strong one has. */
export type StrongDocument = {
  readonly collection: string;
  readonly id: string;
  /** The ledger's revision of its last change, as text; what `ifVersion` is compared with. */
  readonly version: string;
  readonly schemaVersion: number;
  readonly body: JsonObject;
  /** None: nothing merges. */
  readonly conflicts: readonly never[];
  readonly consistency: "strong";
  readonly revision: number;
};

export function shown(collection: string, id: string, stored: Stored): StrongDocument {
  const { revision, schemaVersion, body } = stored;
  return {
    collection,
    id,
    version: String(revision),
    schemaVersion,
    body,
    conflicts: [],
    consistency: "strong",
    revision,
  };
}

/** In the order of the ids' UTF-8 bytes, and of the characters that a key may have. */
export const keyOf = (id: string): string => Buffer.from(id).toString("hex");
export const idOf = (key: string): string => Buffer.from(key, "hex").toString();

export const encodeStored = ({ schemaVersion, body }: Omit<Stored, "revision">): Uint8Array =>
  Buffer.from(JSON.stringify({ schemaVersion, body }));

/** What `problemOf` let in. */
export function decodeStored({ value, revision }: StrongItem): Stored {
  const { schemaVersion, body } = JSON.parse(Buffer.from(value).toString()) as Stored;
  return { revision, schemaVersion, body };
}

/**
 * What is wrong with a key, or with a value under it, that another node wants to write: a server lets
 * in only what every node can read.
 */
export function problemOf(key: string, value?: Uint8Array): string | undefined {
  const id = idOf(key);
  if (id === "" || keyOf(id) !== key) return "the key is no document's id";
  if (value === undefined) return undefined;
  try {
    const { schemaVersion, body, ...more } = JSON.parse(
      new TextDecoder("utf-8", { fatal: true }).decode(value),
    ) as Record<string, unknown>;
    if (isObject(body) && Number.isSafeInteger(schemaVersion) && Object.keys(more).length === 0)
      return undefined;
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  return "the value is no document";
}
