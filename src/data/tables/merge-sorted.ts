/** Several sequences that each ascend by `keyOf`, as one that does; ends those it did not finish. */
export function* mergeSorted<T>(
  sources: readonly Generator<T>[],
  keyOf: (item: T) => number,
): Generator<T> {
  try {
    const heads = sources.map((source) => ({ source, next: source.next() }));
    for (;;) {
      let least: { source: Generator<T>; next: IteratorResult<T> } | undefined;
      let leastKey = Infinity;
      for (const head of heads) {
        if (head.next.done) continue;
        const key = keyOf(head.next.value);
        if (least && key >= leastKey) continue;
        [least, leastKey] = [head, key];
      }
      if (!least || least.next.done) return;
      yield least.next.value;
      least.next = least.source.next();
    }
  } finally {
    for (const source of sources) source.return(undefined);
  }
}
