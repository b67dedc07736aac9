/**
 * Takes another store's documents, piece after piece, when its log no longer has what is lacking here.
 * One peer at a time gives; when its link is lost, it is waited for a while before another one is
 * asked, which would begin anew.
 */
import type { Log } from "../../lib/log.ts";
import type { Link } from "../../transport/index.ts";
import { encodeJson } from "./messages.ts";
import type { ReplicatedSnapshots, ReplicatedStore } from "./replicated.ts";

export interface SnapshotPuller {
  /** `force`: whatever that peer's log has. */
  pull(link: Link, force: boolean): Promise<void>;
}

/** Times that others are not asked while who gave pieces may come back. */
const patience = 20;

export function createSnapshotPuller(
  deps: {
    store: Pick<ReplicatedStore, "vector">;
    snapshots: ReplicatedSnapshots;
    log: Log;
  },
  options: { methods: string; timeoutMs: number },
): SnapshotPuller {
  const { store, snapshots, log } = deps;
  let isTaking = false;
  let giver: { readonly peer: string; left: number } | undefined;

  const take = async (link: Link, force: boolean) => {
    let { at } = await snapshots.place();
    while (!link.closed.aborted) {
      const wish = { vector: await store.vector(), force, ...(at ? { after: at } : {}) };
      const bytes = await link.request(`${options.methods}.snapshot`, encodeJson(wish), {
        timeoutMs: options.timeoutMs,
      });
      if (bytes.length === 0) return;
      const taken = await snapshots.take(bytes);
      if (taken.state === "adopted") {
        giver = undefined;
        log.info("documents were taken from a peer whose log is truncated", { peer: link.peer.id });
      }
      if (taken.state !== "staged") return;
      at = taken.at;
      giver = { peer: link.peer.id, left: patience };
    }
  };

  return {
    async pull(link, force) {
      if (isTaking || (giver && giver.peer !== link.peer.id && giver.left-- > 0)) return;
      isTaking = true;
      try {
        await take(link, force);
      } finally {
        isTaking = false;
      }
    },
  };
}
