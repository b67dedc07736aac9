/** What the ladder is measured by on this node, besides the beats: hub, quorum, resources. */
import type { Clock } from "../lib/clock.ts";
import type { Situation } from "../membership/index.ts";
import type { NodeRecord } from "./config.ts";
import type { HostStrain } from "./host-strain.ts";
import type { StatePath } from "./paths/command-path.ts";
import type { LinkPath } from "./paths/link-path.ts";

/**
 * A server's watch says something at least every 15 s; silence for longer means that none answers. A
 * server that no node hears is given up sooner.
 */
const desiredStateSilentMs = 20_000;

export function situationOf(deps: {
  clock: Clock;
  record: NodeRecord;
  state: StatePath;
  links: () => LinkPath | undefined;
  strain: Pick<HostStrain, "resources">;
}): () => Situation {
  const { clock, record, state, links, strain } = deps;
  return () => {
    const hub = links()?.hub;
    const { lastContactMs } = state.mirror;
    const heardLately =
      lastContactMs !== undefined &&
      clock.monotonicMs() - lastContactMs < desiredStateSilentMs &&
      !state.silence.all;
    return {
      hub: hub?.address === undefined ? "none" : hub.link ? "connected" : "lost",
      quorum: record.role === "server" || heardLately ? "held" : "lost",
      resources: strain.resources,
    };
  };
}
