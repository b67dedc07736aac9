/** A CSV file as the client's importer wants it: its size, a name that follows its content, its text in chunks. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { basename } from "node:path";
import { SkerryError } from "../lib/errors.ts";
import type { CsvSource } from "../client/index.ts";

/** Enough to tell files apart, little enough to read at once. */
const headBytes = 1024 * 1024;

/** Throws `file-unreadable`. */
export async function openCsvFile(path: string): Promise<CsvSource> {
  try {
    const { size } = await stat(path);
    const handle = await open(path, "r");
    try {
      const head = Buffer.alloc(Math.min(headBytes, size));
      await handle.read(head, 0, head.length, 0);
      const id = createHash("sha256").update(head).update(`\n${size}`).digest("hex").slice(0, 24);
      return { id, name: basename(path), bytes: size, chunks: () => createReadStream(path) };
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw new SkerryError({
      code: "file-unreadable",
      message: `cannot read ${path}`,
      hint: "name a CSV file with a header line",
      cause,
    });
  }
}
