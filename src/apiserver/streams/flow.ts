/** Writing a long answer at the reader's pace, for as long as the reader reads. */
import type { ServerResponse } from "node:http";
import type { Clock } from "../../lib/clock.ts";

export type WriteOutcome = "written" | "stalled" | "closed";

/**
 * Writes and waits until the client took what is pending. At most one chunk beyond the response's
 * high-water mark is ever held here. `stalled` after `stallMs` without progress.
 */
export function writeAtPace(
  clock: Clock,
  response: ServerResponse,
  chunk: string | Uint8Array,
  options: { stallMs: number; signal: AbortSignal },
): Promise<WriteOutcome> {
  const { signal } = options;
  if (response.destroyed || response.writableEnded || signal.aborted) {
    return Promise.resolve("closed");
  }
  if (response.write(chunk)) return Promise.resolve("written");
  return new Promise((resolve) => {
    const finish = (outcome: WriteOutcome) => () => {
      timer.cancel();
      response.off("drain", onDrain);
      response.off("close", onClose);
      signal.removeEventListener("abort", onClose);
      resolve(outcome);
    };
    const onDrain = finish("written");
    const onClose = finish("closed");
    const timer = clock.after(options.stallMs, finish("stalled"));
    response.on("drain", onDrain);
    response.on("close", onClose);
    signal.addEventListener("abort", onClose, { once: true });
  });
}

/** Ends a response; one whose client does not take the rest within `graceMs` is cut. */
export function endResponse(clock: Clock, response: ServerResponse, graceMs: number): void {
  if (response.destroyed || response.writableEnded) return;
  const timer = clock.after(graceMs, () => response.destroy());
  response.once("close", () => timer.cancel());
  response.end();
}
