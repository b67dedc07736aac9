/** Who waits for one key, in order: the first has its turn until it ends it, then the next. */

export type Turn = {
  /** False when `signal` was aborted before the turn came. */
  readonly isFirst: boolean;
  /** Lets the next one have its turn. Idempotent. */
  end(): void;
};

export interface Turns {
  take(key: string, signal: AbortSignal): Promise<Turn>;
}

export function createTurns(): Turns {
  const queueByKey = new Map<string, (() => void)[]>();

  const next = (key: string) => {
    const [first] = queueByKey.get(key) ?? [];
    if (first) first();
    else queueByKey.delete(key);
  };

  return {
    take: (key, signal) =>
      new Promise((resolve) => {
        const queue = queueByKey.get(key) ?? [];
        queueByKey.set(key, queue);
        let isOver = false;
        const leave = () => {
          if (isOver) return;
          isOver = true;
          signal.removeEventListener("abort", giveUp);
          const wasFirst = queue[0] === begin;
          queue.splice(queue.indexOf(begin), 1);
          if (wasFirst) next(key);
        };
        const begin = () => {
          signal.removeEventListener("abort", giveUp);
          resolve({ isFirst: !signal.aborted, end: leave });
        };
        const giveUp = () => {
          leave();
          resolve({ isFirst: false, end: leave });
        };
        queue.push(begin);
        if (signal.aborted) return giveUp();
        signal.addEventListener("abort", giveUp, { once: true });
        if (queue[0] === begin) begin();
      }),
  };
}
