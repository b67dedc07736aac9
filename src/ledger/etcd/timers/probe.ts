/** How long a disk takes to sync, before etcd runs on it: a few small syncs beside its data. */
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../../lib/clock.ts";
import { ascending, percentile } from "../../../lib/percentile.ts";

const syncs = 60;
/** About what a small write of the ledger takes in etcd's log. */
const blockBytes = 2_048;
/** A disk that is so slow has been understood by then. */
const longestMs = 3_000;

/** In milliseconds. All waiting is done by the thread pool. Throws what the disk says. */
export async function probeFsync(
  { clock }: { clock: Clock },
  folder: string,
): Promise<{ medianMs: number; p99Ms: number }> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, "fsync-probe");
  const file = await open(path, "w", 0o600);
  try {
    const tookMs: number[] = [];
    const untilMs = clock.monotonicMs() + longestMs;
    const block = new Uint8Array(blockBytes);
    while (tookMs.length < syncs && clock.monotonicMs() < untilMs) {
      await file.write(block);
      const startedMs = clock.monotonicMs();
      await file.datasync();
      tookMs.push(clock.monotonicMs() - startedMs);
    }
    const sorted = ascending(tookMs);
    return { medianMs: percentile(sorted, 0.5) ?? 0, p99Ms: percentile(sorted, 0.99) ?? 0 };
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}
