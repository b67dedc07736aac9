/** What the application of which one may run writes down about itself, one line each, a file for each pod. */

export type SingletonLine =
  | { readonly line: "beat"; readonly atMs: number }
  | {
      readonly line: "lock";
      readonly calledAt: number;
      readonly answeredAt: number;
      readonly token: number;
    }
  | {
      readonly line: "write";
      readonly calledAt: number;
      readonly answeredAt: number;
      readonly token: number;
      readonly outcome: "done" | "refused" | "unknown";
      readonly revision?: number;
    };

/** Times as `hostMonotonicMs` counts them. */
export type SingletonPod = {
  readonly pod: string;
  readonly node: string;
  readonly lines: readonly SingletonLine[];
};

/** In the folder that SINGLETON_DIR names. */
export const singletonFile = (node: string, pod: string) => `${node}.${pod}.singleton.jsonl`;
