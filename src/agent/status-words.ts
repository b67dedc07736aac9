/**
 * What a cell's state means, in sentences for a tired person, most important first. Pure. The words are
 * those of the evidence: what cannot be told apart from here is not.
 */
import {
  hubName,
  ledgerEar,
  tellEars,
  tellUnreachable,
  type CellStatus,
  type DeafLink,
  type Deployment,
  type FailureLine,
  type LedgerReport,
  type NodeReport,
  type NodeVerdict,
  type ReachRecord,
} from "../api/index.ts";
import { formatDuration } from "../lib/duration.ts";
import { rungMeanings, type LadderStory } from "../membership/index.ts";
import { countVoters } from "./ledger-count.ts";

export type WordsView = {
  readonly self: string;
  readonly nodes: readonly {
    readonly name: string;
    readonly verdict: NodeVerdict;
    /** HOST:PORT of its peers port, as it told. */
    readonly at?: string;
  }[];
  readonly reports: ReadonlyMap<string, NodeReport>;
  readonly deployments: readonly Deployment[];
  readonly story: LadderStory;
  readonly ledger: CellStatus["ledger"];
  readonly reach: ReachRecord;
};

export function wordsOf(view: WordsView): string[] {
  const { story, nodes } = view;
  const quorum = view.ledger ? ledgerWords(view.ledger) : [];
  const member = memberWords(view);
  const stores = storeWords(view);
  const hub = hubWords(view);
  const links = linkWords(view);
  const addresses = sharedAddressWords(nodes);
  const missing = nodes
    .filter(({ verdict }) => verdict.state !== "alive" && verdict.state !== "unknown")
    .map(({ name }) => name);
  const unheard = nodes
    .filter(({ verdict }) => verdict.state === "unknown")
    .map(({ name }) => name);
  return [
    ...titleWords(asServersTell(story, view.ledger), missing, {
      ...{ links, hub, addresses, unheard, stores },
      quorum: [...quorum, ...member],
    }),
    ...hub,
    ...quorum,
    ...member,
    ...stores,
    ...nodes.flatMap(({ name, verdict }) => verdictWords(name, verdict, view)),
    ...links,
    ...addresses,
    ...deploymentWords(view.deployments),
    ...budgetWords(view),
    ...damageWords(view),
    ...doubtWords(view),
    ...backupWords(view),
  ];
}

/** Behind the words on the quorum, which say who is silent: why it is. */
function memberWords({ reports }: WordsView): string[] {
  return [...reports.values()].flatMap(({ memberFailure }) =>
    memberFailure ? [failureWords(memberFailure)] : [],
  );
}

function storeWords({ reports }: WordsView): string[] {
  return [...reports.values()].flatMap(({ node, storeFailure }) =>
    storeFailure ? [`${node} acknowledges no entries: ${failureWords(storeFailure)}`] : [],
  );
}

const failureWords = ({ message, hint }: FailureLine): string =>
  `${message}.${hint === undefined ? "" : ` To do: ${hint}`}`;

function budgetWords({ reports }: WordsView): string[] {
  return [...reports.values()].flatMap(({ node, hub: { budgetUsedUpForMs, backlog } }) =>
    budgetUsedUpForMs === undefined
      ? []
      : [
          `${node}: its budget towards the hub is used up; ${backlog.entries} entries wait here until the next day begins, in ${formatDuration(budgetUsedUpForMs)} (midnight UTC).`,
        ],
  );
}

/** The first of each node: a disk that fails damages many. */
function damageWords({ reports }: WordsView): string[] {
  return [...reports.values()].flatMap(({ node, damaged = [] }) => {
    const [first] = damaged;
    if (!first) return [];
    const more = damaged.length > 1 ? `, and ${damaged.length - 1} more such segments` : "";
    return [
      `${node}: ${first.message}${more}. Nobody who was reached has a whole copy; it is asked for again and again.`,
    ];
  });
}

function doubtWords({ reports }: WordsView): string[] {
  return [...reports.values()].flatMap(({ node, doubted = [] }) =>
    doubted.map(
      (name) =>
        `${name} tells of more of what ${node} wrote than it can show, and counts for no copy of it. To do: check the disk and the memory of its machine; skerry data verify says what its stores lack.`,
    ),
  );
}

/** Every server tells the same cell's backups: one that knows of a fresh one is right. */
function backupWords({ reports }: WordsView): string[] {
  const told = [...reports.values()].flatMap(({ backup }) => backup ?? []);
  return told.every(({ state }) => state === "stale")
    ? told.slice(0, 1).map(({ words }) => words)
    : [];
}

/** A server that answers knows of a lost quorum long before a node that only waits for news of it. */
function asServersTell(story: LadderStory, ledger: CellStatus["ledger"]): LadderStory {
  const isBetter = story.rung === "whole" || story.rung === "hub-lost";
  return ledger?.quorum === "lost" && isBetter
    ? { ...story, ...rungMeanings["quorum-lost"], rung: "quorum-lost" }
    : story;
}

function titleWords(
  story: Pick<LadderStory, "rung" | "title" | "toDo">,
  missing: readonly string[],
  about: Readonly<
    Record<"links" | "quorum" | "hub" | "addresses" | "unheard" | "stores", readonly string[]>
  >,
): string[] {
  const { links, quorum, hub, addresses, unheard, stores } = about;
  if (story.rung !== "whole") return [`${story.title}.`, `To do: ${story.toDo}`];
  const wrong = [
    ...missing,
    ...(missing.length === 0 && links.length > 0 ? ["links between nodes"] : []),
    ...(quorum.length > 0 ? ["the ledger"] : []),
    ...(stores.length > 0 ? ["disks of nodes"] : []),
    ...(hub.length > 0 ? ["ways to the hub"] : []),
    ...(addresses.length > 0 ? ["addresses of nodes"] : []),
  ];
  if (wrong.length > 0) return [`Not whole: ${wrong.join(", ")}. Everything else goes on.`];
  return unheard.length === 0
    ? [story.title]
    : [
        `Not heard yet: ${unheard.join(", ")}. This node began to listen a moment ago; seconds later it knows.`,
      ];
}

/** Whether it is the WAN, or this node's way to it. */
function hubWords({ self, reports }: WordsView): string[] {
  const told = [...reports.values()].filter(({ hub }) => hub.state !== "none");
  const lost = told.filter(({ hub }) => hub.state === "lost").map(({ node }) => node);
  if (lost.length === 0) return [];
  const connected = told.filter(({ hub }) => hub.state === "connected").map(({ node }) => node);
  if (connected.length > 0)
    return [
      `${lost.join(", ")} ${verb(lost, "does", "do")} not reach the hub, ${connected.join(", ")} ${verb(connected, "does", "do")}: the WAN is there, the way from ${lost.join(", ")} is cut.`,
    ];
  return told.length > 1
    ? [`The WAN is lost, or the hub is: no node that answers ${self} reaches it.`]
    : [];
}

/** Only what is not as it should be. */
export function ledgerWords(ledger: LedgerReport): string[] {
  const { voters, answering, faultsLeft } = countVoters(ledger);
  const silent = voters.filter((member) => !answering.includes(member));
  const who = silent.map(
    ({ name, role, answeredAgoMs }) =>
      `${role === "witness" ? "the witness " : ""}${name} (${answeredAgoMs === undefined ? "never heard" : `silent for ${formatDuration(answeredAgoMs)}`})`,
  );
  const learners = ledger.members
    .filter(({ role }) => role === "learner")
    .map(({ name }) => `${name} catches up with the ledger; it has no vote yet.`);
  if (ledger.quorum === "lost")
    return [
      `Quorum lost: ${answering.length} of ${voters.length} members of the ledger answer${who.length > 0 ? `, not ${who.join(", ")}` : ""}.`,
      ...learners,
    ];
  // Two members never have one to spare: that is what was chosen, and the promises say so.
  if (silent.length === 0) return learners;
  const rest = faultsLeft === 0 ? "One fault from losing quorum" : "The ledger misses a member";
  return [
    `${rest}: ${answering.length} of ${voters.length} members answer, not ${who.join(", ")}.`,
    ...learners,
  ];
}

function verdictWords(
  name: string,
  verdict: NodeVerdict,
  { self, reach, story }: WordsView,
): string[] {
  switch (verdict.state) {
    case "alive":
    case "unknown":
      return [];
    case "agent-down":
      return [
        verdict.knownBy === "ledger"
          ? `${name}: its agent and its keeper are silent for ${formatDuration(verdict.forMs)}, its ledger member answers: the machine is alive and its pods run on; nothing is replaced yet.`
          : `${name}: its agent is down for ${formatDuration(verdict.forMs)}; its pods run on, nothing is replaced yet.`,
      ];
    case "unreachable":
      // Who hears nobody cannot say that it is the other who is cut off.
      if (verdict.hub === "hears" && story.rung === "alone")
        return [
          `${name}: not heard here for ${formatDuration(verdict.forMs)}, but the hub hears it: it is not dead, this node and ${name} are cut off from each other.`,
        ];
      return [
        `${name}: unreachable for ${formatDuration(verdict.forMs)}, to every node that could hear it: ${tellUnreachable(verdict)}.`,
      ];
    case "link-down": {
      const heard = `${name}: not heard here for ${formatDuration(verdict.forMs)}, but ${tellEars(verdict.heardBy)}`;
      const link = reach.deaf.find(({ from, to }) => from === name && to === self);
      if (verdict.heardBy.includes(ledgerEar))
        return [`${heard}: the link is what failed, or its agent and keeper.`];
      return [
        link?.back === "heard"
          ? `${heard}, and it hears ${self}: the link is cut in one direction, from ${name} to ${self}.`
          : `${heard}: the link is what failed.`,
      ];
    }
    default:
      return verdict satisfies never;
  }
}

/** Links that do not end here; those that do are told with the verdict on the other end. */
function linkWords({ self, reach, nodes }: WordsView): string[] {
  const isSilent = (name: string) =>
    nodes.some(
      (node) =>
        node.name === name &&
        (node.verdict.state === "unreachable" || node.verdict.state === "agent-down"),
    );
  return reach.deaf.flatMap((link) => {
    const { from, to, back } = link;
    if (to === self || from === hubName || isSilent(from) || isSilent(to)) return [];
    if (back === "deaf") return from < to && from !== self ? [bothWays(link)] : [];
    return [
      `${to} does not hear ${from}${since(link)}${back === "heard" ? `, while ${from} hears ${to}: the link is cut in one direction, from ${from} to ${to}.` : "."}`,
    ];
  });
}

/** At most one of them can be there. */
function sharedAddressWords(nodes: WordsView["nodes"]): string[] {
  const places = Map.groupBy(nodes, ({ at }) => at ?? "");
  return [...places].flatMap(([at, there]) => {
    if (at === "" || there.length < 2) return [];
    const names = there.map(({ name }) => name);
    return [
      `${names.join(" and ")} say that they are at ${at}: only one of them can be. Start the other where its machine is (skerry up --host ADDRESS); if it never comes back: kubectl delete node NAME.`,
    ];
  });
}

const bothWays = (link: DeafLink) =>
  `${link.from} and ${link.to} do not hear each other${since(link)}: the link between them is what failed.`;

const since = ({ forMs }: DeafLink) => (forMs === undefined ? "" : ` for ${formatDuration(forMs)}`);

function deploymentWords(deployments: readonly Deployment[]): string[] {
  return deployments.flatMap(({ metadata, spec, status }) => {
    const [ready, desired] = [status?.readyReplicas ?? 0, spec.replicas ?? 1];
    return ready < desired
      ? [
          `Deployment ${metadata.namespace}/${metadata.name}: ${ready} of ${desired} pods are ready.`,
        ]
      : [];
  });
}

const verb = (names: readonly string[], one: string, many: string) =>
  names.length === 1 ? one : many;
