/**
 * How far an export got, beside its file: a small record, replaced with each piece, and for a format
 * that says at its end where everything stands, a line for each piece, which is only added to. The
 * record says how much of both files counts: what was written and not noted comes again.
 */
import { existsSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import type { Json } from "../../lib/json.ts";
import { SkerryError } from "../../lib/errors.ts";
import { readFileIfExists, readRecord, writeRecordAsync } from "../../runtime/files/index.ts";
import { appendAt } from "./append-at.ts";

export type Progress = {
  readonly entries: number;
  readonly bytes: number;
  readonly cursor?: string;
  /** Of the encoder. */
  readonly state?: Json;
};

export interface Resume {
  /** Where the run before stood. */
  readonly progress: Progress;
  /** What the run before left of its pieces, in order. */
  readonly notes: readonly string[];
  /** Durable when it resolves. `note`: of the last piece, a line. */
  save(progress: Progress, note?: string): Promise<void>;
  /** The export is whole. */
  remove(): void;
}

/** What is exported: another export does not go on with it, nor another version of what stands beside it. */
export type Export = readonly [version: number, ...of: readonly Json[]];

type Saved = Progress & { readonly of: string; readonly noteBytes?: number };

/** Throws `invalid-argument` when this export cannot be begun or gone on with at `path`. */
export function openResume(path: string, exported: Export): Resume {
  const resumePath = `${path}.resume`;
  const notesPath = `${resumePath}.pieces`;
  const of = JSON.stringify(exported);
  const found = savedAt(resumePath, path, of);
  const { entries = 0, bytes = 0, cursor, state } = found ?? {};
  let noteBytes = found?.noteBytes ?? 0;

  return {
    progress: { entries, bytes, cursor, state },
    notes: noteBytes === 0 ? [] : readNotes(notesPath, noteBytes),
    async save(progress, note) {
      if (note !== undefined) {
        await using file = await open(notesPath, noteBytes === 0 ? "w" : "r+", 0o600);
        noteBytes += await appendAt(file, noteBytes, Buffer.from(`${note}\n`));
      }
      await writeRecordAsync(resumePath, { ...progress, of, noteBytes } satisfies Saved);
    },
    remove() {
      rmSync(resumePath);
      rmSync(notesPath, { force: true });
    },
  };
}

/** Undefined: it is to begin anew. */
function savedAt(resumePath: string, path: string, of: string): Saved | undefined {
  const found = readRecord(resumePath) as Saved | undefined;
  const isThere = existsSync(path);
  if (found === undefined && !isThere) return undefined;
  if (found === undefined)
    throw new SkerryError({
      code: "invalid-argument",
      message: `--out: ${path} is there already`,
      hint: "name another file, or delete this one; an export that was cut short has a .resume beside it",
    });
  if (found.of === of) return isThere ? found : undefined;
  const isOfVersion = withoutVersion(found.of) === withoutVersion(of);
  throw new SkerryError({
    code: "invalid-argument",
    message: `--out: ${resumePath} ${isOfVersion ? "was begun by another version of skerry" : "belongs to another export"}`,
    hint: isOfVersion
      ? "delete the file and its .resume and run this again, or finish it with that version"
      : "run that one again with its flags, or delete the file and its .resume",
  });
}

const withoutVersion = (of: string) => of.slice(of.indexOf(","));

function readNotes(notesPath: string, noteBytes: number): readonly string[] {
  const content = readFileIfExists(notesPath)?.subarray(0, noteBytes);
  if (content?.length === noteBytes) return content.toString().split("\n").slice(0, -1);
  throw new SkerryError({
    code: "invalid-argument",
    message: `--out: ${notesPath} is not whole, so the export cannot go on`,
    hint: "delete the file, its .resume and its .resume.pieces, and run this again",
  });
}
