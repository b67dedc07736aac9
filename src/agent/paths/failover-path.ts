/**
 * The way of a loss: the keeper's beats between nodes → evidence → verdict → (on the leader)
 * node-lifecycle → scheduler → the nodes' mirrors → workloads. Here both ends are tied: who beats to
 * whom, and who may act on what is concluded.
 */
import {
  nodeKind,
  endpointsOf,
  type Node,
  type NodeEndpoints,
  type NodeVerdict,
} from "../../api/index.ts";
import { startControllers } from "../../controllers/index.ts";
import type { Keeper } from "../../keeper/index.ts";
import { whenAborted } from "../../lib/abort.ts";
import { explain, isAbort } from "../../lib/errors.ts";
import { createSignals } from "../../lib/signals.ts";
import {
  createMembership,
  type LedgerSituation,
  type Membership,
  type MembershipEvents,
} from "../../membership/index.ts";
import { listenBeats } from "../../transport/index.ts";
import type { Ground } from "../ground.ts";
import type { HostStrain } from "../host-strain.ts";
import { situationOf } from "../situation.ts";
import type { StatePath } from "./command-path.ts";
import type { IdentityPath } from "./identity-path.ts";
import type { LinkPath } from "./link-path.ts";
import { measureFailover } from "./metrics-path.ts";

export type FailoverPath = { readonly membership: Membership };

const leadershipTtlMs = 10_000;

export async function startFailoverPath(
  ground: Ground,
  deps: {
    state: StatePath;
    identity: IdentityPath;
    keeper: Keeper;
    links: LinkPath;
    strain: Pick<HostStrain, "resources">;
    ledgerSituation: () => LedgerSituation;
  },
): Promise<FailoverPath> {
  const { clock, log, lifecycle, record, nowMs } = ground;
  const { state, keeper, links, strain, ledgerSituation: ledger } = deps;
  const { identity } = deps.identity;

  let names: readonly string[] = [record.node];
  let others: readonly NodeEndpoints[] = [];
  const signals = createSignals<MembershipEvents>({
    onListenerError: (error, name) => log.error("listener failed", { event: name, error }),
  });
  signals.on("verdict", ({ node, verdict }) =>
    state.silence.tell(node, verdict.state === "unreachable"),
  );
  signals.on("gone", ({ node }) => state.silence.tell(node, false));
  const membership = await lifecycle.start(
    "membership",
    () =>
      createMembership(
        {
          self: record.node,
          clock,
          log,
          signals,
          ports: {
            nodes: () => names,
            setHeard: (report) => keeper.reportHeard(report),
            situation: situationOf({ clock, record, state, links, strain, ledger }),
            links: () =>
              new Map(
                others.flatMap(({ node }) => {
                  const link = links.linkTo(node);
                  return link ? [[node, link.heardMs] as const] : [];
                }),
              ),
            ledger,
          },
        },
        { eviction: { evict: record.evict } },
      ),
    (part) => part.stop(),
  );
  await lifecycle.start(
    "beats",
    () =>
      listenBeats(
        { clock, log, nowMs },
        {
          host: record.host,
          port: links.port,
          trust: () => identity.trust,
          onBeat: (beat) => void membership.onBeat(beat),
        },
      ),
    (part) => part.close(),
  );

  const configureBeats = () => {
    keeper
      .configureBeats({
        node: record.node,
        keyPem: identity.identity.keyPem,
        certificateBase64: Buffer.from(identity.leaf).toString("base64"),
        peers: others.map(({ host, ports }) => ({ host, port: ports.peers })),
        bindAddress: record.host,
      })
      .catch((error: unknown) => log.warn("the keeper did not take whom to beat to", { error }));
  };
  identity.onChange(configureBeats);
  state.mirrored.follow(nodeKind, (nodes: readonly Node[]) => {
    names = [...new Set([record.node, ...nodes.map(({ metadata }) => metadata.name)])];
    const found = nodes
      .flatMap((node) => endpointsOf(node) ?? [])
      .filter(({ node }) => node !== record.node);
    if (JSON.stringify(found) === JSON.stringify(others)) return;
    others = found;
    configureBeats();
  });

  if (state.ledger) await lead(ground, state, membership, signals);
  return { membership };
}

/** Controllers run while this server holds the leadership, and only then. */
async function lead(
  ground: Ground,
  { ledger, fenced }: StatePath,
  membership: Membership,
  signals: ReturnType<typeof createSignals<MembershipEvents>>,
): Promise<void> {
  const { clock, random, log, lifecycle, record } = ground;
  if (!ledger || !fenced) return;
  const stopping = new AbortController();
  const onReplaced = measureFailover(ground);
  const verdicts = {
    self: record.node,
    tolerance: (node: string) => membership.tolerance(node),
    verdicts: (): ReadonlyMap<string, NodeVerdict> => membership.verdicts(),
    mayEvict: (node: string) => membership.mayEvict(node),
    onChange: (listener: (node: string) => void) =>
      signals.on("verdict", ({ node }) => listener(node)),
  };
  // A predecessor of this very agent is dead: a node runs one. Of others membership judges, with more
  // patience for those that flap; the fence keeps a wrong verdict harmless.
  const presumedDead = {
    is: (holder: string) =>
      holder === record.node || membership.verdicts().get(holder)?.state === "unreachable",
    onChange: verdicts.onChange,
  };
  const leading = (async () => {
    while (!stopping.signal.aborted) {
      try {
        const campaign = await ledger.campaign("controllers", {
          id: record.node,
          ttlMs: leadershipTtlMs,
          signal: stopping.signal,
          presumedDead,
        });
        const refused = new AbortController();
        const lost = AbortSignal.any([campaign.lost, refused.signal, stopping.signal]);
        const resources = fenced({
          key: campaign.key,
          revision: campaign.fence,
          onLost: (error) => refused.abort(error),
        });
        log.info("this server leads", { fence: campaign.fence });
        const controllers = startControllers(
          { resources, verdicts, clock, random, log, onReplaced },
          { signal: lost },
        );
        await whenAborted(lost);
        await controllers.stop();
        log.info("this server leads no more", {
          fence: campaign.fence,
          because: explain(lost.reason),
        });
        if (!campaign.lost.aborted) await campaign.resign();
      } catch (error) {
        if (stopping.signal.aborted || isAbort(error)) return;
        log.error("leadership failed; standing again", { error });
        await clock.sleep(1000, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  })();
  leading.catch((error: unknown) => log.error("controllers ended", { error }));
  await lifecycle.start(
    "controllers",
    () => stopping,
    async () => {
      stopping.abort();
      await leading;
    },
  );
}
