/** So many at a time, the others in the order in which they came; how many may wait is the caller's to bound. */
export interface Turns {
  /** Runs `work` when it is its turn; resolves, or rejects, as that does. */
  take<T>(work: () => Promise<T>): Promise<T>;
}

export function createTurns(atATime: number): Turns {
  const waiting: (() => void)[] = [];
  let running = 0;
  return {
    async take(work) {
      // Who ends hands its place on: nobody who comes meanwhile gets it.
      if (running >= atATime) await new Promise<void>((resolve) => void waiting.push(resolve));
      else running++;
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        if (next) next();
        else running--;
      }
    },
  };
}
