/** Names numbered as they come, each once: what repeats a name says its number. */
export interface Interning<Key> {
  /** By their numbers. */
  readonly names: readonly string[];
  indexOf(key: Key): number;
}

export function createInterning<Key extends string | number>(
  nameOf: (key: Key) => string,
): Interning<Key> {
  const names: string[] = [];
  const indexes = new Map<Key, number>();
  // Most often it is the one before once more.
  let last: Key | undefined;
  let lastIndex = -1;
  return {
    names,
    indexOf(key) {
      if (key === last) return lastIndex;
      let index = indexes.get(key);
      if (index === undefined) {
        index = names.push(nameOf(key)) - 1;
        indexes.set(key, index);
      }
      [last, lastIndex] = [key, index];
      return index;
    },
  };
}
