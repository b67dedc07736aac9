/** A store hears of a peer that has more of its own log, and asks, as replication does. */
import type { Observed, ReplicatedStore } from "../../src/data/replication/replicated.ts";

export async function hearPeer(
  store: Pick<ReplicatedStore, "observe">,
  peer: Pick<ReplicatedStore, "vector" | "log">,
): Promise<Observed & { readonly questions: number }> {
  const told = await peer.vector();
  let found = await store.observe(told);
  let questions = 0;
  for (; found.ask; questions++) {
    const { ask } = found;
    const batch = await peer.log({ origin: ask.origin, from: ask.from, bytesMax: 1 });
    const piece = batch?.bytes ?? new Uint8Array();
    found = await store.observe(told, { state: "shown", ask, piece });
  }
  return { ...found, questions };
}
