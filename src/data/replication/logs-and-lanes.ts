/** A store of streams as the hub sync sees it: its logs, and the lanes that go apart from them. */
import type { StreamStore, Vector } from "../streams/store.ts";

export function logsAndLanes(store: Pick<StreamStore, "vector" | "lanes" | "markHub" | "on">): {
  vector(): Promise<Vector>;
  markHub(vector: Vector): Promise<void>;
  on(event: "grown", listener: (grown: { readonly vector: Vector }) => void): () => void;
} {
  return {
    async vector() {
      const [vector, lanes] = await Promise.all([store.vector(), store.lanes()]);
      return { ...vector, ...lanes };
    },
    markHub: (vector) => store.markHub(vector),
    on: (event, listener) =>
      store.on(event, ({ vector, lanes }) => listener({ vector: { ...vector, ...lanes } })),
  };
}
