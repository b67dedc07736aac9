/**
 * A stream into a file, page by page. Beside the file stands a record of how far it got: an export
 * that was cut short, by whatever, goes on from there when it is run again, and the file is the same
 * as if it had never stopped.
 */
import { existsSync, rmSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { SkerryError } from "../lib/errors.ts";
import { readRecord, syncDirectory, writeRecordAsync } from "../runtime/files/index.ts";
import { callJson, type LocalApi } from "./local-api.ts";
import { csvValue } from "./output.ts";

export type ExportOptions = {
  readonly stream: string;
  readonly path: string;
  readonly format: "ndjson" | "csv";
  /** `from`, `to`, `cell`. */
  readonly query: Readonly<Record<string, string>>;
  /** Entries that are asked for and written at a time. Default 5000. */
  readonly pageEntries?: number;
  readonly onProgress?: (progress: { entries: number; bytes: number }) => void;
};

export type ExportResult = {
  readonly entries: number;
  readonly bytes: number;
  /** Entries that were there from a run before. */
  readonly resumed: number;
};

type Line = Readonly<Record<string, unknown>> & {
  readonly body: Readonly<Record<string, unknown>>;
};
type Page = { readonly entries: readonly Line[]; readonly cursor: string; readonly more: boolean };

/** What the file beside says; `of` names the export, so that another one does not go on with it. */
type Progress = {
  readonly of: string;
  readonly entries: number;
  readonly bytes: number;
  readonly cursor?: string;
  readonly fields?: readonly string[];
};

const named = ["at", "producer", "epoch", "sequence", "origin", "position"];

/** Throws `invalid-argument`, and what the node or hub says. */
export async function exportStream(
  api: Pick<LocalApi, "url" | "fetch">,
  options: ExportOptions,
): Promise<ExportResult> {
  const { stream, path, format, query, pageEntries = 5000, onProgress } = options;
  const resumePath = `${path}.resume`;
  const of = JSON.stringify([stream, format, query]);
  let progress = progressOf(resumePath, path, of);
  const resumed = progress.entries;
  await writeRecordAsync(resumePath, progress);
  const file = await open(path, progress.bytes > 0 ? "r+" : "w", 0o600);
  try {
    // What was written and not noted comes again.
    await file.truncate(progress.bytes);
    for (let more = true; more;) {
      const parameters = new URLSearchParams({
        ...query,
        format: "json",
        limit: String(pageEntries),
        ...(progress.cursor === undefined ? {} : { after: progress.cursor }),
      });
      const page = await callJson<Page>(
        api,
        `/v1/streams/${encodeURIComponent(stream)}/entries?${parameters}`,
      );
      const fields = progress.fields ?? fieldsOf(page.entries);
      const text = page.entries.map((entry) =>
        format === "csv" ? csvLine(entry, fields ?? [], query) : `${JSON.stringify(entry)}\n`,
      );
      const head = format === "csv" && progress.bytes === 0 && fields ? headOf(fields, query) : "";
      progress = {
        of,
        entries: progress.entries + page.entries.length,
        bytes: progress.bytes + (await append(file, progress.bytes, head + text.join(""))),
        cursor: page.cursor,
        ...(fields ? { fields } : {}),
      };
      await writeRecordAsync(resumePath, progress);
      onProgress?.(progress);
      ({ more } = page);
    }
  } finally {
    await file.close();
  }
  rmSync(resumePath);
  syncDirectory(dirname(path));
  return { entries: progress.entries, bytes: progress.bytes, resumed };
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
async function append(file: FileHandle, position: number, text: string): Promise<number> {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
  await file.datasync();
  return bytes.length;
}

/** The columns, fixed by the first page that has entries; what comes up later goes into `other`. */
function fieldsOf(entries: readonly Line[]): readonly string[] | undefined {
  if (entries.length === 0) return undefined;
  return [...new Set(entries.flatMap(({ body }) => Object.keys(body)))];
}

function headOf(fields: readonly string[], query: ExportOptions["query"]): string {
  const cell = query["cell"] === undefined ? [] : ["cell"];
  const taken = new Set([...cell, ...named, "other"]);
  const columns = fields.map((field) => (taken.has(field) ? `body.${field}` : field));
  return `${[...cell, ...named, ...columns, "other"].map(csvValue).join(",")}\n`;
}

function csvLine(entry: Line, fields: readonly string[], query: ExportOptions["query"]): string {
  const { body } = entry;
  const cell = query["cell"] === undefined ? [] : [entry["cell"]];
  const known = new Set(fields);
  const rest = Object.entries(body).filter(([field]) => !known.has(field));
  const other = rest.length === 0 ? undefined : Object.fromEntries(rest);
  const values = [
    ...cell,
    ...named.map((name) => entry[name]),
    ...fields.map((name) => body[name]),
  ];
  return `${[...values, other].map(csvValue).join(",")}\n`;
}
