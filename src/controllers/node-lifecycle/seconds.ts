/** Spans of time as people read them in events and conditions. */
import { formatDuration } from "../../lib/duration.ts";

/** `1.5 s`, `75 s`, `10m` */
export function tellSeconds(ms: number): string {
  if (ms < 10_000) return `${Number((ms / 1000).toFixed(1))} s`;
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : formatDuration(ms);
}
