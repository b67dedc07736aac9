/**
 * A stream into a file, piece by piece. Beside the file stands a record of how far it got: an export
 * that was cut short, by whatever, goes on from there when it is run again, and the file is the same
 * as if it had never stopped.
 */
import { existsSync, rmSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { SkerryError } from "../../lib/errors.ts";
import { readRecord, syncDirectory, writeRecordAsync } from "../../runtime/files/index.ts";
import type { Json } from "../../lib/json.ts";
import { callJson, type LocalApi } from "../local-api.ts";
import type { Encoder, Line } from "./encoder.ts";
import { csvEncoder, ndjsonEncoder } from "./text.ts";

export const exportFormats = ["ndjson", "csv", "parquet"] as const;
export type ExportFormat = (typeof exportFormats)[number];

export type ExportOptions = {
  readonly stream: string;
  readonly path: string;
  readonly format: ExportFormat;
  /** `from`, `to`, `cell`. */
  readonly query: Readonly<Record<string, string>>;
  /** Entries that are asked for at a time. Default 5000. */
  readonly pageEntries?: number;
  /** At least so many in a piece. Default: the format's own. */
  readonly pieceEntries?: number;
  readonly onProgress?: (progress: { entries: number; bytes: number }) => void;
};

export type ExportResult = {
  readonly entries: number;
  readonly bytes: number;
  /** Entries that were there from a run before. */
  readonly resumed: number;
};

type Page = { readonly entries: readonly Line[]; readonly cursor: string; readonly more: boolean };

/** What the file beside says; `of` names the export, so that another one does not go on with it. */
type Progress = {
  readonly of: string;
  readonly entries: number;
  readonly bytes: number;
  readonly cursor?: string;
  /** Of the encoder. */
  readonly state?: Json;
};

/** What of a piece is kept in memory, whatever its format would like: a page is about 1 MiB at most. */
const pagesPerPiece = 32;

/** Throws `invalid-argument`, and what the node or hub says. */
export async function exportStream(
  api: Pick<LocalApi, "url" | "fetch">,
  options: ExportOptions,
): Promise<ExportResult> {
  const { stream, path, format, query, pageEntries = 5000, onProgress } = options;
  const resumePath = `${path}.resume`;
  const of = JSON.stringify([2, stream, format, query]);
  let progress = progressOf(resumePath, path, of);
  const encoder = await encoderOf(options, progress.state ?? null);
  const { pieceEntries = encoder.entriesPerPiece } = options;
  const resumed = progress.entries;
  await writeRecordAsync(resumePath, progress);
  const file = await open(path, progress.bytes > 0 ? "r+" : "w", 0o600);
  try {
    // What was written and not noted comes again.
    await file.truncate(progress.bytes);
    let { cursor } = progress;
    let waiting: Line[] = [];
    let pages = 0;
    for (let more = true; more;) {
      const parameters = new URLSearchParams({
        ...query,
        format: "json",
        limit: String(pageEntries),
        ...(cursor === undefined ? {} : { after: cursor }),
      });
      const page = await callJson<Page>(
        api,
        `/v1/streams/${encodeURIComponent(stream)}/entries?${parameters}`,
      );
      ({ cursor, more } = page);
      waiting.push(...page.entries);
      onProgress?.({ entries: progress.entries + waiting.length, bytes: progress.bytes });
      if (more && waiting.length < pieceEntries && ++pages < pagesPerPiece) continue;
      const piece = encoder.encode(waiting, progress.bytes);
      progress = {
        of,
        entries: progress.entries + waiting.length,
        bytes: progress.bytes + (await append(file, progress.bytes, piece)),
        cursor,
        state: encoder.state,
      };
      [waiting, pages] = [[], 0];
      await writeRecordAsync(resumePath, progress);
      onProgress?.(progress);
    }
    // Not noted: a run that is cut short here writes it again, behind what came meanwhile.
    const end = encoder.end(progress.bytes);
    progress = {
      ...progress,
      bytes: progress.bytes + (await append(file, progress.bytes, end)),
    };
  } finally {
    await file.close();
  }
  rmSync(resumePath);
  syncDirectory(dirname(path));
  return { entries: progress.entries, bytes: progress.bytes, resumed };
}

/** A library of 200 KB, for who wants it. */
async function encoderOf({ format, query }: ExportOptions, state: Json): Promise<Encoder> {
  if (format === "ndjson") return ndjsonEncoder();
  if (format === "csv") return csvEncoder(query, state);
  const { parquetEncoder } = await import("./parquet.ts");
  return parquetEncoder(query, state);
}

function progressOf(resumePath: string, path: string, of: string): Progress {
  const found = readRecord(resumePath) as Progress | undefined;
  const fresh: Progress = { of, entries: 0, bytes: 0 };
  if (found === undefined) {
    if (!existsSync(path)) return fresh;
    throw new SkerryError({
      code: "invalid-argument",
      message: `--out: ${path} is there already`,
      hint: "name another file, or delete this one; an export that was cut short has a .resume beside it",
    });
  }
  if (found.of === of) return existsSync(path) ? found : fresh;
  throw new SkerryError({
    code: "invalid-argument",
    message: `--out: ${resumePath} belongs to another export`,
    hint: "run that one again with its flags, or delete the file and its .resume",
  });
}

/** Durable when it resolves, so that the record beside never says more than the file holds. */
async function append(file: FileHandle, position: number, bytes: Uint8Array): Promise<number> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
  await file.datasync();
  return bytes.length;
}
