/** Whether two of what may run once only ran at once, from the beats of each; and its fenced writes. Pure. */
import type { SingletonPod } from "../load/singleton.ts";
import { checkLocks, type LockFinding } from "./locks.ts";

/** It ran from one beat to the next, unless the gap is one in which it was paused. */
const pausedMs = 400;

export type Span = { readonly fromMs: number; readonly toMs: number };

/** When a pod ran, its pauses left out. */
export function spansOf({ lines }: SingletonPod): Span[] {
  const spans: { fromMs: number; toMs: number }[] = [];
  for (const line of lines) {
    if (line.line !== "beat") continue;
    const last = spans.at(-1);
    if (last && line.atMs - last.toMs <= pausedMs) last.toMs = line.atMs;
    else spans.push({ fromMs: line.atMs, toMs: line.atMs });
  }
  return spans;
}

/** The times at which two ran. */
export function overlaps(pods: readonly SingletonPod[]): Span[] {
  const all = pods.map(spansOf);
  return all.flatMap((spans, index) =>
    all.slice(index + 1).flatMap((others) =>
      spans.flatMap((span) =>
        others.flatMap((other) => {
          const fromMs = Math.max(span.fromMs, other.fromMs);
          const toMs = Math.min(span.toMs, other.toMs);
          return fromMs < toMs ? [{ fromMs, toMs }] : [];
        }),
      ),
    ),
  );
}

/** Writes that an older token got through: what protects where no timer can. */
export function fencedWrites(pods: readonly SingletonPod[]): LockFinding[] {
  const lock = "singleton";
  return checkLocks({
    holds: pods.flatMap(({ lines }, client) =>
      lines.flatMap((line) =>
        line.line === "lock" ? [{ ...line, client, lock, provedUntil: line.answeredAt }] : [],
      ),
    ),
    writes: pods.flatMap(({ lines }, client) =>
      lines.flatMap((line) => (line.line === "write" ? [{ ...line, client, lock }] : [])),
    ),
  });
}
