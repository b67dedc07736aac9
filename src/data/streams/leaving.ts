/**
 * What of a log is put before the egress gate. The hub counts what the gate holds back as seen, for
 * ever; so an entry whose stream is not declared here is not shown to the gate at once: this node may
 * only not have heard of its Stream yet. The log waits before it, until the stream is declared, or
 * has been missing for so long that it was deleted.
 */
import { pick } from "../../api/records/index.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { ColumnBatch } from "./store.ts";

export function createLeaving(
  deps: { clock: Clock; log: Log },
  options: { undeclaredGraceMs: number; declared: () => ReadonlyMap<string, unknown> | undefined },
): (batch: ColumnBatch) => ColumnBatch | undefined {
  const { clock, log } = deps;
  const missingSinceMs = new Map<string, number>();
  const toldOf = new Set<string>();

  const isAwaited = (stream: string, streams: ReadonlyMap<string, unknown>): boolean => {
    if (streams.has(stream)) {
      missingSinceMs.delete(stream);
      toldOf.delete(stream);
      return false;
    }
    const nowMs = clock.monotonicMs();
    const sinceMs = missingSinceMs.get(stream) ?? nowMs;
    missingSinceMs.set(stream, sinceMs);
    if (nowMs - sinceMs < options.undeclaredGraceMs) return true;
    if (!toldOf.has(stream))
      log.warn("entries of an undeclared stream stay in the cell", { stream });
    toldOf.add(stream);
    return false;
  };

  return (batch) => {
    const streams = options.declared();
    if (!streams) return undefined;
    const { columns, from } = batch;
    const awaited = columns.streams.map((stream) => isAwaited(stream, streams));
    const end = columns.stream.findIndex((index) => awaited[index]);
    if (end < 0) return batch;
    const to = (columns.position[end] ?? from) - 1;
    return to < from
      ? undefined
      : { ...batch, to, columns: pick(columns, [...columns.stream.keys()].slice(0, end)) };
  };
}
