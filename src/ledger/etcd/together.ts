/**
 * Which of the transactions that wait may share one of etcd's. Those that share are all judged by what
 * stood before any of them, so none may change what another looks at or changes: then every order of
 * them comes to the same.
 */
export type Waiting = {
  /** Keys that it puts or deletes. */
  readonly changed: readonly string[];
  /** Keys that its conditions look at. */
  readonly looked: readonly string[];
  readonly operations: number;
  readonly bytes: number;
};

/** etcd takes 128 operations and 1.5 MiB; the mark and the conditions come on top. */
const operationsMax = 64;
const bytesMax = 256 * 1024;
/** Looked at for one transaction: what waits behind is looked at for the next. */
const lookedAtMax = 256;

/** Takes the first of `waiting` and all that may share with it out of it, in their order. */
export function takeTogether<T extends Waiting>(waiting: T[]): readonly T[] {
  const changed = new Set<string>();
  const looked = new Set<string>();
  let operations = 0;
  let bytes = 0;
  const fits = (one: T) =>
    operations + one.operations <= operationsMax &&
    bytes + one.bytes <= bytesMax &&
    !one.changed.some((key) => changed.has(key) || looked.has(key)) &&
    !one.looked.some((key) => changed.has(key));

  const taken: T[] = [];
  const left: T[] = [];
  for (const [index, one] of waiting.entries()) {
    if (index >= lookedAtMax || operations >= operationsMax) {
      left.push(...waiting.slice(index));
      break;
    }
    // The first goes in any case: alone, where it is large.
    if (taken.length > 0 && !fits(one)) {
      left.push(one);
      continue;
    }
    taken.push(one);
    for (const key of one.changed) changed.add(key);
    for (const key of one.looked) looked.add(key);
    operations += one.operations;
    bytes += one.bytes;
  }
  waiting.splice(0, waiting.length, ...left);
  return taken;
}
