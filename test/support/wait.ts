/** Waiting for a condition with a deadline, so that no test sleeps for a guess. */

const pollMs = 10;

export type WaitOptions = {
  /** Default 30 s: a machine that stands still for seconds must not fail what is only waited for. */
  readonly timeoutMs?: number;
  /** What is waited for, as it shall stand in the failure: `"node n2 to be ready"`. */
  readonly what: string;
};

/**
 * Polls `condition` every 10 ms until it gives something other than undefined or false, and
 * resolves with that. A condition that throws is asked again. After the deadline rejects with an
 * error that names `what` and the last thing that was thrown.
 */
export async function waitFor<T>(
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  options: WaitOptions,
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const untilMs = performance.now() + timeoutMs;
  let last: { error: unknown } | undefined;
  for (;;) {
    try {
      const value = await withDeadline(condition, Math.max(1, untilMs - performance.now()));
      if (value !== undefined && value !== false) return value;
      last = undefined;
    } catch (error) {
      // A look that the deadline cut short says less than the one before it.
      if (!(error instanceof NoAnswer && last)) last = { error };
    }
    if (performance.now() >= untilMs) {
      const reason = last?.error instanceof Error ? last.error.message : last && String(last.error);
      throw new Error(
        `waited ${timeoutMs} ms for ${options.what}${reason === undefined ? "" : `; last error: ${reason}`}`,
        last && { cause: last.error },
      );
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

class NoAnswer extends Error {}

/** A condition that hangs must not hang the test past its deadline. */
async function withDeadline<T>(condition: () => T | Promise<T>, leftMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new NoAnswer("the condition itself did not answer")), leftMs);
  });
  try {
    return await Promise.race([Promise.try(condition), late]);
  } finally {
    clearTimeout(timer);
  }
}
