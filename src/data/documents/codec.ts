/**
 * A piece of an origin's log as bytes for a link: "SKD1", then one zstd frame of lines: a header, and
 * each operation as it stands in the log. The bytes of an operation are the same in every store.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { SkerryError } from "../../lib/errors.ts";
import { isObject } from "./json.ts";
import { readOperation, type Operation } from "./operation.ts";

export type OperationBatch = {
  readonly origin: string;
  readonly from: number;
  /** One for each position from `from` on. */
  readonly texts: readonly string[];
};

const magic = Buffer.from("SKD1");
/** What one batch may unpack to; a sender stops far below, unless one operation is larger. */
const unpackedBytesMax = 32 * 1024 * 1024;
const originBytesMax = 300;

export function encodeOperations({ origin, from, texts }: OperationBatch): Uint8Array {
  const content = [JSON.stringify({ origin, from, count: texts.length }), ...texts].join("\n");
  const packed = zstdCompressSync(Buffer.from(content), {
    params: { [constants.ZSTD_c_compressionLevel]: 1 },
  });
  return Buffer.concat([magic, packed]);
}

/** Throws `invalid-batch`; every operation of a batch that was decoded can be applied. */
export function decodeOperations(
  bytes: Uint8Array,
): OperationBatch & { readonly operations: readonly Operation[] } {
  if (bytes.length < 4 || magic.compare(bytes, 0, 4) !== 0)
    throw invalid("does not start with SKD1");
  let lines: string[];
  let header: unknown;
  try {
    const content = zstdDecompressSync(bytes.subarray(4), { maxOutputLength: unpackedBytesMax });
    lines = content.toString("utf8").split("\n");
    header = JSON.parse(lines[0] ?? "");
  } catch (cause) {
    throw invalid("cannot be unpacked", cause);
  }
  const texts = lines.slice(1);
  if (!isObject(header)) throw invalid("has no header");
  const { origin, from, count } = header;
  if (typeof origin !== "string" || origin === "" || origin.length > originBytesMax)
    throw invalid("origin must be a name");
  if (!Number.isSafeInteger(from) || (from as number) < 1) throw invalid("from must be a position");
  if (count !== texts.length || texts.length === 0)
    throw invalid(`${texts.length} operations, ${String(count)} were announced`);
  return { origin, from: from as number, texts, operations: texts.map(readOperation) };
}

const invalid = (problem: string, cause?: unknown) =>
  new SkerryError({
    code: "invalid-batch",
    message: `batch of documents: ${problem}`,
    hint: "the other side is damaged, or speaks a later version of the format",
    cause,
  });
