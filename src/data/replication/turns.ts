/**
 * Whose batch goes to the hub next: of the highest priority that has something to send, the log that is
 * furthest behind in bytes, so that equal ones share; who had nothing to send gathers no claim
 * (start-time fair queueing, Goyal, Vin and Cheng, SIGCOMM 1996). Pure.
 */
export interface Turns {
  /** Undefined when there are none. */
  next(logs: readonly string[]): string | undefined;
  gave(log: string, bytes: number): void;
}

export function createTurns(priorityOf: (log: string) => number): Turns {
  const finishByLog = new Map<string, number>();
  /** By priority: the start of what was given last. */
  const nowByPriority = new Map<number, number>();
  const startOf = (log: string) =>
    Math.max(nowByPriority.get(priorityOf(log)) ?? 0, finishByLog.get(log) ?? 0);
  return {
    next: (logs) =>
      [...logs].sort((a, b) => priorityOf(b) - priorityOf(a) || startOf(a) - startOf(b))[0],
    gave(log, bytes) {
      const start = startOf(log);
      nowByPriority.set(priorityOf(log), start);
      finishByLog.set(log, start + bytes);
    },
  };
}
