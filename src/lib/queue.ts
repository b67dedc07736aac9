/**
 * A bounded first-in first-out queue for one consumer. What happens when it is full is part of its
 * type: `reject` makes `push` answer false, `drop-oldest` forgets the head and counts it.
 */
export type QueueOptions = {
  readonly itemsMax: number;
  readonly onFull: "reject" | "drop-oldest";
};

export interface Queue<T> extends AsyncIterable<T> {
  /** False when the item was not taken (full and `reject`, or closed). */
  push(item: T): boolean;
  /** No more pushes; the consumer sees what is left, then the end (or `error`). */
  close(error?: unknown): void;
  readonly size: number;
  /** Items forgotten by `drop-oldest`. */
  readonly dropped: number;
}

export function createQueue<T>(options: QueueOptions): Queue<T> {
  if (!(options.itemsMax >= 1))
    throw new RangeError(`itemsMax must be at least 1, got ${options.itemsMax}`);
  // A ring would save the splice, but a head index with an occasional trim is as fast and simpler.
  let items: T[] = [];
  let head = 0;
  let dropped = 0;
  let closed = false;
  let failure: { error: unknown } | undefined;
  let wake: (() => void) | undefined;

  const size = () => items.length - head;
  const notify = () => {
    wake?.();
    wake = undefined;
  };
  const shift = (): T => {
    const item = items[head] as T;
    items[head++] = undefined as T;
    if (head > 1024 && head * 2 > items.length) {
      items = items.slice(head);
      head = 0;
    }
    return item;
  };

  return {
    push(item) {
      if (closed) return false;
      if (size() >= options.itemsMax) {
        if (options.onFull === "reject") return false;
        shift();
        dropped++;
      }
      items.push(item);
      notify();
      return true;
    },
    close(error) {
      if (closed) return;
      closed = true;
      if (error !== undefined) failure = { error };
      notify();
    },
    get size() {
      return size();
    },
    get dropped() {
      return dropped;
    },
    [Symbol.asyncIterator]() {
      return {
        async next(): Promise<IteratorResult<T>> {
          for (;;) {
            if (size() > 0) return { value: shift(), done: false };
            if (closed) {
              if (failure) throw failure.error;
              return { value: undefined, done: true };
            }
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
        },
        async return(): Promise<IteratorResult<T>> {
          closed = true;
          items = [];
          head = 0;
          notify();
          return { value: undefined, done: true };
        },
      };
    },
  };
}
