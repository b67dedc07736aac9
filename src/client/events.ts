/** Server-sent events, as far as gateways use them. */
import type { Clock } from "../lib/clock.ts";
import { linesOf } from "./caller.ts";

export type ServerEvent = { readonly id: string; readonly event: string; readonly data: string };

/** `onLine`: something came, if only a sign of life. */
export async function* eventsOf(answer: Response, onLine?: () => void): AsyncIterable<ServerEvent> {
  let fields: Record<string, string> = {};
  for await (const line of linesOf(answer)) {
    onLine?.();
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
    if (line !== "") continue;
    const { id = "", event = "message", data } = fields;
    fields = {};
    if (data !== undefined) yield { id, event, data };
  }
}

/** Aborts with `signal`, and after `silenceMs` without a `heard`. Call `done` in the end. */
export function listening(
  clock: Clock,
  { silenceMs, signal }: { silenceMs: number; signal: AbortSignal | undefined },
): { readonly signal: AbortSignal; heard(): void; done(): void } {
  const controller = new AbortController();
  const abort = () => controller.abort();
  let timer = clock.after(silenceMs, abort);
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  return {
    signal: controller.signal,
    heard() {
      timer.cancel();
      timer = clock.after(silenceMs, abort);
    },
    done() {
      timer.cancel();
      signal?.removeEventListener("abort", abort);
    },
  };
}
