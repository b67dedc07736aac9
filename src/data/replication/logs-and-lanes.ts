/** A store of streams as the hub sync sees it: its logs, and the lanes that go apart from them. */
import type { StreamStore, Vector } from "../streams/store.ts";
import { originOfLog } from "../tables/lanes.ts";
import type { Observed, Proof } from "./replicated.ts";

export function logsAndLanes(
  store: Pick<StreamStore, "vector" | "lanes" | "markHub" | "observe" | "on">,
): {
  vector(): Promise<Vector>;
  markHub(vector: Vector): Promise<void>;
  /** Of lanes as of the logs that they are of. */
  observe(vector: Vector, proof?: Proof): Promise<Observed>;
  on(event: "grown", listener: (grown: { readonly vector: Vector }) => void): () => void;
} {
  return {
    async vector() {
      const [vector, lanes] = await Promise.all([store.vector(), store.lanes()]);
      return { ...vector, ...lanes };
    },
    markHub: (vector) => store.markHub(vector),
    observe(vector, proof) {
      const tops: Record<string, number> = {};
      for (const [name, top] of Object.entries(vector)) {
        const origin = originOfLog(name);
        tops[origin] = Math.max(tops[origin] ?? 0, top);
      }
      return store.observe(tops, proof);
    },
    on: (event, listener) =>
      store.on(event, ({ vector, lanes }) => listener({ vector: { ...vector, ...lanes } })),
  };
}
