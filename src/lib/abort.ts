/** Waiting for an abort. */

/** Resolves once `signal` is aborted, also when it was before: such a signal tells no listener. */
export function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
