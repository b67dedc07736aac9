/** A connection that dies silently (a machine without power) says nothing of it: whoever follows listens for signs of life. */
import type { Clock, Timer } from "../lib/clock.ts";
import { SkerryError } from "../lib/errors.ts";

/** A node or hub that is there is heard every 15 s. */
const silenceMs = 45_000;

/**
 * `signal` aborts with the one given, and after 45 s without `heard`, for which `not-answering` is the
 * reason. A reader that is busy with what came calls `pause`, and then `heard`. Call `done` in the end.
 */
export function listening(
  clock: Clock,
  signal: AbortSignal | undefined,
): { readonly signal: AbortSignal; heard(): void; pause(): void; done(): void } {
  const controller = new AbortController();
  const forward = () => controller.abort(signal?.reason);
  const giveUp = () =>
    controller.abort(
      new SkerryError({
        code: "not-answering",
        message: `nothing was heard for ${silenceMs / 1000} s`,
        retryable: true,
      }),
    );
  let timer: Timer = clock.after(silenceMs, giveUp);
  signal?.addEventListener("abort", forward, { once: true });
  if (signal?.aborted) forward();
  return {
    signal: controller.signal,
    heard() {
      timer.cancel();
      timer = clock.after(silenceMs, giveUp);
    },
    pause: () => timer.cancel(),
    done() {
      timer.cancel();
      signal?.removeEventListener("abort", forward);
    },
  };
}
