/**
 * Which backups a place keeps: the newest of each of the last hours and days that have one, within a
 * budget of bytes. Pure.
 */
import type { BackupMeta } from "./meta.ts";

export type Retention = {
  /** Hours for which the newest backup stays. */
  readonly hourly: number;
  readonly daily: number;
  /** Of all kept backups together; the newest stays even if it is larger alone. */
  readonly bytesMax: number;
};

export const defaultRetention: Retention = {
  hourly: 24,
  daily: 7,
  bytesMax: 512 * 2 ** 20,
};

const hourMs = 3_600_000;
const dayMs = 86_400_000;

/** Newest first; of the same time the one with the higher revision. */
export const newestFirst = (metas: readonly BackupMeta[]): BackupMeta[] =>
  metas.toSorted((a, b) => b.atMs - a.atMs || b.revision - a.revision || (a.id < b.id ? 1 : -1));

/** What has to go, oldest first. */
export function surplus(metas: readonly BackupMeta[], retention: Retention): BackupMeta[] {
  const sorted = newestFirst(metas);
  const kept = new Set<BackupMeta>(sorted.slice(0, 1));
  const keepNewestOf = (periodMs: number, periods: number) => {
    const seen = new Set<number>();
    for (const meta of sorted) {
      const period = Math.floor(meta.atMs / periodMs);
      if (seen.has(period)) continue;
      if (seen.size === periods) return;
      seen.add(period);
      kept.add(meta);
    }
  };
  keepNewestOf(hourMs, retention.hourly);
  keepNewestOf(dayMs, retention.daily);
  let bytes = 0;
  for (const [index, meta] of sorted.entries()) {
    if (!kept.has(meta)) continue;
    bytes += meta.bytes;
    if (index > 0 && bytes > retention.bytesMax) kept.delete(meta);
  }
  return sorted.filter((meta) => !kept.has(meta)).toReversed();
}
