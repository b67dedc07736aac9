/**
 * A stream into a file, piece by piece. Beside the file stands a record of how far it got: an export
 * that was cut short, by whatever, goes on from there when it is run again, and the file is the same
 * as if it had never stopped.
 */
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { syncDirectory } from "../../runtime/files/index.ts";
import type { Json } from "../../lib/json.ts";
import { callJson, type LocalApi } from "../local-api.ts";
import { appendAt } from "./append-at.ts";
import type { Encoder, Line } from "./encoder.ts";
import { openResume } from "./resume.ts";
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

/** Changes with what stands beside the file. */
const resumeVersions: Readonly<Record<ExportFormat, number>> = { ndjson: 2, csv: 2, parquet: 3 };

/** What of a piece is kept in memory, whatever its format would like: a page is about 1 MiB at most. */
const pagesPerPiece = 32;

/** Throws `invalid-argument`, and what the node or hub says. */
export async function exportStream(
  api: Pick<LocalApi, "url" | "fetch">,
  options: ExportOptions,
): Promise<ExportResult> {
  const { stream, path, format, query, pageEntries = 5000, onProgress } = options;
  const resume = openResume(path, [resumeVersions[format], stream, format, query]);
  let { progress } = resume;
  const encoder = await encoderOf(options, progress.state ?? null, resume.notes);
  const { pieceEntries = encoder.entriesPerPiece } = options;
  const resumed = progress.entries;
  await resume.save(progress);
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
        entries: progress.entries + waiting.length,
        bytes: progress.bytes + (await appendAt(file, progress.bytes, piece.bytes)),
        cursor,
        state: encoder.state,
      };
      [waiting, pages] = [[], 0];
      await resume.save(progress, piece.note);
      onProgress?.(progress);
    }
    // Not noted: a run that is cut short here writes it again, behind what came meanwhile.
    const end = encoder.end(progress.bytes);
    progress = {
      ...progress,
      bytes: progress.bytes + (await appendAt(file, progress.bytes, end)),
    };
  } finally {
    await file.close();
  }
  resume.remove();
  syncDirectory(dirname(path));
  return { entries: progress.entries, bytes: progress.bytes, resumed };
}

/** A library of 200 KB, for who wants it. */
async function encoderOf(
  { format, query }: ExportOptions,
  state: Json,
  notes: readonly string[],
): Promise<Encoder> {
  if (format === "ndjson") return ndjsonEncoder();
  if (format === "csv") return csvEncoder(query, state);
  const { parquetEncoder } = await import("./parquet.ts");
  return parquetEncoder(query, { state, notes });
}
