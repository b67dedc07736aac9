/** Something by path, of which what stands at and below a path is found without a look at the others. */
import { ancestorsOf } from "./pointer.ts";

export interface ByPath<T> {
  get(path: string): T | undefined;
  set(path: string, value: T): void;
  delete(path: string): void;
  /** The paths there are, of this one and those below it. */
  within(path: string): readonly string[];
}

export function createByPath<T>(): ByPath<T> {
  const values = new Map<string, T>();
  const below = new Map<string, Set<string>>();
  return {
    get: (path) => values.get(path),
    set(path, value) {
      values.set(path, value);
      for (const above of ancestorsOf(path)) {
        const paths = below.get(above) ?? new Set();
        below.set(above, paths.add(path));
      }
    },
    delete(path) {
      if (!values.delete(path)) return;
      for (const above of ancestorsOf(path)) below.get(above)?.delete(path);
    },
    within(path) {
      if (path === "") return [...values.keys()];
      const inner = below.get(path) ?? [];
      return values.has(path) ? [path, ...inner] : [...inner];
    },
  };
}
