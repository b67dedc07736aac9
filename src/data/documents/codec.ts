/**
 * A piece of an origin's log as bytes for a link: "SKD1", then one zstd frame of lines: a header, and
 * each operation as it stands in the log. The bytes of an operation are the same in every store.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { SkerryError } from "../../lib/errors.ts";
import { isObject, type JsonObject } from "./json.ts";
import { readOperation, type Operation } from "./operation.ts";

export type OperationBatch = {
  readonly origin: string;
  readonly from: number;
  /** One for each position from `from` on. */
  readonly texts: readonly string[];
};

/** `operations` are the same as `texts`, read. */
export type DecodedOperations = OperationBatch & { readonly operations: readonly Operation[] };

/** What one batch may unpack to; a sender stops far below, unless one operation is larger. */
const unpackedBytesMax = 32 * 1024 * 1024;
/** Of one operation: a batch that holds it alone is still taken, with room for what the hub's format adds. */
const operationBytesMax = 24 * 1024 * 1024;
const originBytesMax = 300;
const magic = "SKD1";

export function encodeOperations({ origin, from, texts }: OperationBatch): Uint8Array {
  return packLines(magic, { origin, from, count: texts.length }, texts);
}

/** Throws `batch-too-large` for an operation that no other store would take: a log never gets past it. */
export function requireSendable(text: string): void {
  // A character is three bytes at most.
  if (text.length * 3 <= operationBytesMax) return;
  const bytes = Buffer.byteLength(text);
  if (bytes <= operationBytesMax) return;
  throw new SkerryError({
    code: "batch-too-large",
    message: `writes: ${bytes} bytes to tell to other nodes`,
    hint: `at most ${operationBytesMax} of one request: send fewer documents at a time`,
  });
}

/** Throws `invalid-batch`; every operation of a batch that was decoded can be applied. */
export function decodeOperations(bytes: Uint8Array): DecodedOperations {
  const { origin, from, texts } = unpackLines(magic, bytes);
  return { origin, from, texts, operations: texts.map(readOperation) };
}

export const packLines = (kind: string, header: JsonObject, texts: readonly string[]): Uint8Array =>
  packText(kind, [JSON.stringify(header), ...texts]);

/** Four letters that say what it is, then one zstd frame: a header and a line each. */
export function packText(kind: string, lines: readonly string[]): Uint8Array {
  const packed = zstdCompressSync(Buffer.from(lines.join("\n")), {
    params: { [constants.ZSTD_c_compressionLevel]: 1 },
  });
  return Buffer.concat([Buffer.from(kind), packed]);
}

/** Throws `invalid-batch`. */
export function unpackLines(
  kind: string,
  bytes: Uint8Array,
): OperationBatch & { readonly header: JsonObject } {
  const { header, texts } = unpackText(kind, bytes);
  const { origin, from, count } = header;
  if (typeof origin !== "string" || origin === "" || origin.length > originBytesMax)
    throw invalidBatch("origin must be a name");
  if (!Number.isSafeInteger(from) || (from as number) < 1)
    throw invalidBatch("from must be a position");
  if (count !== texts.length || texts.length === 0)
    throw invalidBatch(`${texts.length} operations, ${String(count)} were announced`);
  return { origin, from: from as number, texts, header };
}

/** Throws `invalid-batch`. */
export function unpackText(
  kind: string,
  bytes: Uint8Array,
): { readonly header: JsonObject; readonly texts: readonly string[] } {
  if (bytes.length < 4 || Buffer.from(kind).compare(bytes, 0, 4) !== 0)
    throw invalidBatch(`does not start with ${kind}`);
  let lines: string[];
  let header: unknown;
  try {
    const content = zstdDecompressSync(bytes.subarray(4), { maxOutputLength: unpackedBytesMax });
    lines = content.toString("utf8").split("\n");
    header = JSON.parse(lines[0] ?? "");
  } catch (cause) {
    throw invalidBatch("cannot be unpacked", cause);
  }
  const texts = lines.slice(1);
  if (!isObject(header)) throw invalidBatch("has no header");
  return { header, texts };
}

export const invalidBatch = (problem: string, cause?: unknown): SkerryError =>
  new SkerryError({
    code: "invalid-batch",
    message: `batch of documents: ${problem}`,
    hint: "the other side is damaged, or speaks a later version of the format",
    cause,
  });
