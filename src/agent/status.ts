/** What this node says of itself, and what it makes of all nodes' answers: pure but for the asking. */
import type {
  CellStatus,
  Deployment,
  Ladder,
  LedgerReport,
  NodeEndpoints,
  NodeReport,
  NodeVerdict,
  Pod,
  PodStatusLine,
  ReachRecord,
} from "../api/index.ts";
import { podIsReady, podStatusText } from "../api/index.ts";
import type { LadderStory } from "../membership/index.ts";
import type { AddressView } from "./address-promise.ts";
import { countVoters } from "./ledger-count.ts";
import { promisesOf } from "./promises.ts";
import { wordsOf } from "./status-words.ts";

export type CellView = {
  readonly cell: string;
  readonly self: string;
  readonly nodes: readonly {
    readonly name: string;
    readonly endpoints: NodeEndpoints | undefined;
  }[];
  readonly verdicts: ReadonlyMap<string, NodeVerdict>;
  readonly reports: ReadonlyMap<string, NodeReport>;
  readonly deployments: readonly Deployment[];
  /** As the API knows them; on nodes that are not servers their own only. */
  readonly pods: readonly Pod[];
  readonly story: LadderStory;
  readonly addresses?: readonly AddressView[];
  /** This node's. */
  readonly ladder: Ladder;
  /** By silent node: why its pods are not replaced; known on servers. */
  readonly held: ReadonlyMap<string, string>;
  readonly reach: ReachRecord;
};

export function cellStatus(view: CellView): CellStatus {
  const verdictOf = (name: string): NodeVerdict => view.verdicts.get(name) ?? { state: "unknown" };
  const ledger = bestLedger([...view.reports.values()]);
  return {
    cell: view.cell,
    seenFrom: view.self,
    nodes: view.nodes
      .map(({ name, endpoints }) => {
        const report = view.reports.get(name);
        return {
          name,
          role: endpoints?.isServer ? ("server" as const) : ("worker" as const),
          address: endpoints?.host ?? "?",
          verdict: verdictOf(name),
          ...(report === undefined ? {} : { report }),
        };
      })
      .sort((a, b) => a.name.localeCompare(b.name)),
    workloads: view.deployments.map(({ metadata, spec, status }) => ({
      kind: "Deployment",
      namespace: metadata.namespace ?? "default",
      name: metadata.name,
      ready: status?.readyReplicas ?? 0,
      desired: spec.replicas ?? 1,
    })),
    pods: allPods(view),
    words: wordsOf({
      ...view,
      nodes: view.nodes.map(({ name, endpoints }) => ({
        name,
        verdict: verdictOf(name),
        ...(endpoints && { at: `${endpoints.host}:${endpoints.ports.peers}` }),
      })),
      ledger,
    }),
    ...(ledger === undefined ? {} : { ledger }),
    reach: view.reach,
    promises: promisesOf({
      self: view.self,
      ladder: view.ladder,
      held: view.held,
      ...(view.addresses === undefined ? {} : { addresses: view.addresses }),
      ledger,
      nodes: view.nodes.map(({ name, endpoints }) => ({
        name,
        isServer: endpoints?.isServer ?? view.reports.get(name)?.role === "server",
        verdict: verdictOf(name),
        short: view.reports.get(name)?.short ?? [],
      })),
      waitingForHub: [...view.reports.values()].reduce(
        (sum, { hub }) => sum + hub.backlog.entries,
        0,
      ),
    }),
  };
}

/** Of servers that are cut off from one another, the one that reaches more of the ledger. */
function bestLedger(reports: readonly NodeReport[]): CellStatus["ledger"] {
  const told = reports.flatMap(({ node, ledger }) =>
    ledger ? [{ ...ledger, seenFrom: node }] : [],
  );
  const rank = (ledger: LedgerReport) =>
    (ledger.quorum === "held" ? 1000 : 0) + countVoters(ledger).answering.length;
  return told.sort((a, b) => rank(b) - rank(a))[0];
}

/** A node that answers knows its own pods best; of the others the API's word is taken, as far as it goes. */
function allPods({ reports, pods, ...view }: CellView): PodStatusLine[] {
  const told = new Map(
    [...reports.values()].flatMap((report) => report.pods).map((pod) => [pod.uid, pod]),
  );
  for (const pod of pods) {
    const uid = pod.metadata.uid ?? "";
    if (!told.has(uid)) told.set(uid, asLastHeard(podLine(pod, {}), view));
  }
  return [...told.values()].sort((a, b) =>
    `${a.namespace}/${a.name}`.localeCompare(`${b.namespace}/${b.name}`),
  );
}

/** Ready is what a node said while it was heard. */
function asLastHeard(
  line: PodStatusLine,
  { nodes, verdicts }: Pick<CellView, "nodes" | "verdicts">,
): PodStatusLine {
  const why = nodes.some(({ name }) => name === line.node)
    ? unheard(verdicts.get(line.node))
    : "is no node of the cell any more";
  if (!line.ready || why === undefined) return line;
  return { ...line, ready: false, reason: `as it was told last; ${line.node} ${why}` };
}

function unheard(verdict: NodeVerdict | undefined): string | undefined {
  if (verdict?.state === "unreachable") return "is unreachable";
  return verdict === undefined || verdict.state === "unknown" ? "was not heard yet" : undefined;
}

export function podLine(pod: Pod, pids: Readonly<Record<string, number>>): PodStatusLine {
  const { metadata, spec, status } = pod;
  const ready = podIsReady(pod);
  return {
    namespace: metadata.namespace ?? "default",
    name: metadata.name,
    uid: metadata.uid ?? "",
    node: spec.nodeName ?? "",
    phase: status?.phase ?? "Pending",
    ready,
    restarts: (status?.containerStatuses ?? []).reduce(
      (sum, container) => sum + (container.restartCount ?? 0),
      0,
    ),
    pids,
    ...(ready ? {} : { reason: whyNotReady(pod) }),
  };
}

/** What the scheduler or the pod's node said; the state alone when nobody said more. */
function whyNotReady(pod: Pod): string {
  const told = pod.status?.conditions?.find(
    ({ type, status, message }) => type === "PodScheduled" && status === "False" && message,
  );
  return pod.status?.message ?? told?.message ?? podStatusText(pod);
}
