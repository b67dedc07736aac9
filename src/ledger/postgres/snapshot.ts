/** A copy of the ledger as a file of the SQLite engine, which restores and reads it. */
import { SkerryError } from "../../lib/errors.ts";
import { unavailable } from "../checks.ts";
import type { Epoch, Revision } from "../ledger.ts";
import { copyToSqlite, writeSnapshotFile } from "../sqlite/index.ts";
import type { Core } from "./core.ts";
import type { Reads } from "./reads.ts";

/** A value may have a MiB. */
const pageKeys = 32;

/** Throws `file-exists`, `disk-full`, `file-unwritable` or `ledger-unavailable`. */
export const writeSnapshot = (
  core: Core,
  { reads, epoch }: { reads: Reads; epoch: Epoch },
  path: string,
): Promise<{ revision: Revision; bytes: number; sha256: string }> =>
  writeSnapshotFile(path, async (temporary) => {
    const { revision } = await reads.state();
    const copy = copyToSqlite(core.deps, { path: temporary, epoch, revision });
    try {
      for (let after = ""; ;) {
        const page = await reads.list("", { atRevision: revision, limit: pageKeys, after });
        copy.add(page.items);
        if (!page.more) break;
        after = page.items.at(-1)?.key ?? after;
      }
      return copy.finish().revision;
    } catch (error) {
      copy.abandon();
      throw error instanceof SkerryError && error.code === "compacted"
        ? unavailable("the ledger forgot the revision that was being copied", error)
        : error;
    }
  });
