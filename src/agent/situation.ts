/** What the ladder is measured by on this node, besides the beats: hub, quorum, resources. */
import type { Clock } from "../lib/clock.ts";
import type { LedgerSituation, Situation } from "../membership/index.ts";
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
  links: Pick<LinkPath, "hub">;
  strain: Pick<HostStrain, "resources">;
  ledger: () => LedgerSituation;
}): () => Situation {
  const { clock, record, state, links, strain } = deps;
  return () => {
    const { hub } = links;
    const { lastContactMs } = state.mirror;
    return {
      hub: hub.address === undefined ? "none" : hub.link ? "connected" : "lost",
      quorum:
        record.role === "server"
          ? quorumAtServer(deps.ledger())
          : quorumElsewhere({
              contactAgoMs:
                lastContactMs === undefined ? undefined : clock.monotonicMs() - lastContactMs,
              servers: state.servers().length,
              allSilent: state.silence.all,
            }),
      resources: strain.resources,
    };
  };
}

/** A server measures its own ledger; one that is sole is its own quorum. */
export function quorumAtServer(ledger: LedgerSituation): Situation["quorum"] {
  return ledger.state === "sole" ? "held" : ledger.quorum;
}

/**
 * A node that is no server goes by what servers tell it. Where some are heard and none of them tells
 * anything it is their quorum that is lost; a server that is the only one cannot lose any.
 */
export function quorumElsewhere(view: {
  /** Since a server last told something of desired state. */
  readonly contactAgoMs: number | undefined;
  readonly servers: number;
  /** No node hears any of them. */
  readonly allSilent: boolean;
}): Situation["quorum"] {
  const { contactAgoMs, servers, allSilent } = view;
  if (allSilent) return "no-server";
  if (contactAgoMs !== undefined && contactAgoMs < desiredStateSilentMs) return "held";
  return servers > 1 ? "lost" : "no-server";
}
