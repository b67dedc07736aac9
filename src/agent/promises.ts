/**
 * What a cell promises in the situation it is in, and what it does not, in sentences for a person who
 * has to decide something now. Pure. Nothing stands here that the design does not keep.
 */
import type { Ladder, LedgerReport, NodeVerdict } from "../api/index.ts";
import { addressPromise, type AddressView } from "./address-promise.ts";
import { countVoters } from "./ledger-count.ts";

export type PromiseView = {
  readonly self: string;
  /** This node's. */
  readonly ladder: Ladder;
  readonly nodes: readonly {
    readonly name: string;
    readonly isServer: boolean;
    readonly verdict: NodeVerdict;
    /** What the node itself is short of, in words. */
    readonly short: readonly string[];
  }[];
  /** Entries that wait for the hub, as far as nodes answered. */
  readonly waitingForHub: number;
  /** By silent node: why its pods are not replaced (rule E). */
  readonly held: ReadonlyMap<string, string>;
  readonly addresses?: readonly AddressView[];
  /** Where several servers share the ledger and one of them answers. */
  readonly ledger: LedgerReport | undefined;
};

export type Promises = {
  readonly kept: readonly string[];
  readonly suspended: readonly string[];
};

export function promisesOf(view: PromiseView): Promises {
  const { self, ladder, nodes, held } = view;
  const others = nodes.filter(({ name }) => name !== self);
  const alive = others.filter(({ verdict }) => verdict.state === "alive").map(({ name }) => name);
  const lost = others.filter(({ verdict }) => verdict.state === "unreachable");
  const servers = nodes.filter(({ isServer }) => isServer);
  const isGone = ({ verdict }: { verdict: NodeVerdict }) =>
    verdict.state === "unreachable" || verdict.state === "agent-down";
  const quorumLost = ladder.quorum === "lost" || view.ledger?.quorum === "lost";
  const serverLost =
    ladder.quorum === "no-server" ||
    (servers.length > 0 && servers.every((server) => isGone(server)));
  const names = servers.map(({ name }) => name).join(", ") || "the server";
  const kept: string[] = [];
  const suspended: string[] = [];
  const say = (holds: boolean, text: string, otherwise?: string) => {
    if (holds) kept.push(text);
    else if (otherwise !== undefined) suspended.push(otherwise);
  };

  say(true, `Pods run on, and are restarted where they are: ${[self, ...alive].join(", ")}.`);
  say(
    alive.length > 0,
    `The ingress of ${[self, ...alive].join(", ")} answers for every ready pod on them.`,
    "The ingress here reaches the pods of this node only.",
  );
  say(true, "Entries are acknowledged at local, synced to the disk of the node that took them.");
  if (nodes.length > 1)
    say(
      alive.length > 0,
      `Entries are copied between the nodes: peer(k) is acknowledged up to k = ${alive.length}.`,
      "peer(k) is not acknowledged: no other node can hold a copy.",
    );
  if (ladder.hub !== "none")
    say(
      ladder.hub === "connected",
      "Entries that may leave go to the hub, and hub is acknowledged.",
      `hub is not acknowledged: ${view.waitingForHub} entries wait on disk and are sent when it is back; what the hub shows of this cell is old.`,
    );
  if (serverLost || quorumLost) {
    suspended.push(
      serverLost
        ? `Changes by kubectl are refused at once (server-lost) until ${servers.length > 1 ? `one of ${names}` : names} answers; reads show what was last known.`
        : `Changes by kubectl are refused until the ledger has its quorum again${needed(view.ledger)}; reads show what was last known.`,
      "No pod is replaced, scaled or rolled out, whatever else is lost; pods with skerry.dev/on-partition: stop end 30 s after the loss.",
      "No node can join, and no certificate is renewed; those there are go on.",
    );
  } else if (servers.length > 1) {
    const shared = sharedPromises(view.ledger, names);
    kept.push(...shared.kept);
    suspended.push(...shared.suspended);
  } else {
    kept.push(
      `Changes by kubectl take effect, and survive a power cut of ${names} once they are answered.`,
    );
    const reached = nodes.length - lost.length;
    say(
      (reached - 1) * 2 > nodes.length,
      "Pods of another node that is lost are started elsewhere within seconds.",
      nodes.length > 1
        ? `Pods of another node that is lost are not replaced: with ${reached} of ${nodes.length} nodes left, nobody could tell who is cut off.`
        : undefined,
    );
    if (nodes.length > 1)
      suspended.push(
        `${names} is the only server: if it is lost, desired state cannot be changed until it is back.`,
      );
  }
  for (const address of view.addresses ?? []) {
    const { holds, text } = addressPromise(address, {
      servers: servers.map(({ name }) => name),
      undecided: serverLost || quorumLost,
      gone: (node) => nodes.some((one) => one.name === node && node !== self && isGone(one)),
    });
    (holds ? kept : suspended).push(text);
  }
  for (const { name } of lost) {
    suspended.push(`What only ${name} holds (entries acknowledged at local) waits for its return.`);
    const because = held.get(name);
    if (because !== undefined) suspended.push(`Pods of ${name} are not replaced: ${because}.`);
  }
  for (const { name, short } of nodes)
    for (const what of short)
      suspended.push(
        `${name} is short of ${what}; less important work is shed there, and appends are refused once its disk is full.`,
      );
  return { kept, suspended };
}

/** With two servers or more: the quorum decides, and what counts is how many more may be lost. */
function sharedPromises(ledger: LedgerReport | undefined, names: string): Promises {
  const changes =
    "Changes by kubectl take effect, and survive any power cut once they are answered.";
  if (!ledger)
    return {
      kept: [changes],
      suspended: [
        `What of ${names} may still be lost is not known here: none of them told how the ledger is.`,
      ],
    };
  const { voters, answering, majority, faultsLeft } = countVoters(ledger);
  const left = answering.map(({ name }) => name).join(", ");
  if (faultsLeft > 0) {
    const spare = faultsLeft === 1 ? "Any one" : `Any ${faultsLeft}`;
    return {
      kept: [
        changes,
        `${spare} of ${left} may be lost: changes go on, and what was answered stands.`,
        "Pods of another node that is lost, servers included, are started elsewhere within seconds.",
      ],
      suspended: [],
    };
  }
  const witness = voters.find((one) => one.role === "witness" && !answering.includes(one));
  const why =
    voters.length === 2
      ? `${names} are two and have no witness`
      : `${answering.length} of ${voters.length} members of the ledger are left, and ${majority} are needed`;
  return {
    kept: [
      changes,
      "Pods of another node that is lost and is no server are started elsewhere within seconds.",
    ],
    suspended: [
      `One fault from losing quorum: ${why}. If one of ${left} is lost, nothing can be changed and no pod is replaced until it is back.`,
      ...(witness
        ? [
            `The witness ${witness.name} does not answer: its machine, or the way to it. Beside the hub a cut WAN is enough for that; on site it would not be.`,
          ]
        : []),
      ...(voters.length === 2
        ? [
            "A third server, or a witness on any small box, would make the loss of any one harmless.",
          ]
        : []),
    ],
  };
}

const needed = (ledger: LedgerReport | undefined) => {
  if (!ledger) return "";
  const { voters, majority } = countVoters(ledger);
  return `: ${majority} of ${voters.map(({ name }) => name).join(", ")} have to answer`;
};
