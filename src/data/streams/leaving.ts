/**
 * What of a log is put before the egress gate. The hub counts what the gate holds back as seen, for
 * ever; so an entry whose stream is not declared here is not shown to the gate at once: this node may
 * only not have heard of its Stream yet. The log waits before it, until the stream is declared, or
 * has been missing for so long that it was deleted.
 */
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { toLogBatch } from "../batch/codec.ts";
import type { ColumnBatch, LogBatch } from "./store.ts";

export function createLeaving(
  deps: { clock: Clock; log: Log },
  options: { undeclaredGraceMs: number; declared: () => ReadonlyMap<string, unknown> | undefined },
): (batch: LogBatch | ColumnBatch) => LogBatch | ColumnBatch | undefined {
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
    if ("columns" in batch && !batch.columns.streams.some((name) => isAwaited(name, streams)))
      return batch;
    const whole = "columns" in batch ? toLogBatch(batch) : batch;
    const end = whole.entries.findIndex(({ stream }) => isAwaited(stream, streams));
    if (end < 0) return whole;
    const to = (whole.entries[end]?.position.sequence ?? whole.from) - 1;
    return to < whole.from ? undefined : { ...whole, to, entries: whole.entries.slice(0, end) };
  };
}
