/**
 * The degradation ladder: four measures, each with hysteresis, and the rung that the worst of them
 * names. Pure: `climb` takes the last state, what is measured now, and answers the next state.
 */
import type { Ladder, LadderRung, NodeVerdict } from "../api/index.ts";
import type { MonotonicMs } from "../lib/brand.ts";

export type LadderOptions = {
  /** A worse measure must hold this long before it is believed. */
  readonly worseMs: Readonly<Record<keyof Ladder, number>>;
  /** A better one this long: a link that comes and goes is not "back". */
  readonly betterMs: Readonly<Record<keyof Ladder, number>>;
};

export const ladderDefaults: LadderOptions = {
  worseMs: { hub: 1000, quorum: 1000, peers: 0, resources: 5000 },
  betterMs: { hub: 3000, quorum: 2000, peers: 2000, resources: 30_000 },
};

type Measure<T> = { readonly value: T; readonly candidate: T; readonly sinceMs: MonotonicMs };
export type LadderState = { readonly [Name in keyof Ladder]: Measure<Ladder[Name]> };

/** From best to worst. */
const order: { readonly [Name in keyof Ladder]: readonly Ladder[Name][] } = {
  hub: ["none", "connected", "lost"],
  quorum: ["held", "no-server", "lost"],
  peers: ["all", "some", "alone"],
  resources: ["enough", "starved"],
};

/**
 * The first measurement is believed at once, unless it says that no quorum or no server is there: at a
 * start nobody was asked yet.
 */
export function climb(
  state: LadderState | undefined,
  measured: Ladder,
  nowMs: MonotonicMs,
  options: LadderOptions,
): LadderState {
  const begun: Partial<LadderState> = {
    quorum: { value: "held", candidate: "held", sinceMs: nowMs },
  };
  const step = <Name extends keyof Ladder>(name: Name): Measure<Ladder[Name]> => {
    const now: Ladder[Name] = measured[name];
    const before = (state ?? begun)[name] as Measure<Ladder[Name]> | undefined;
    if (!before || now === before.value) return { value: now, candidate: now, sinceMs: nowMs };
    const sinceMs = now === before.candidate ? before.sinceMs : nowMs;
    const worse = order[name].indexOf(now) > order[name].indexOf(before.value);
    const holdMs = worse ? options.worseMs[name] : options.betterMs[name];
    return { value: nowMs - sinceMs >= holdMs ? now : before.value, candidate: now, sinceMs };
  };
  return {
    hub: step("hub"),
    quorum: step("quorum"),
    peers: step("peers"),
    resources: step("resources"),
  };
}

export function ladderOf(state: LadderState): Ladder {
  return {
    hub: state.hub.value,
    quorum: state.quorum.value,
    peers: state.peers.value,
    resources: state.resources.value,
  };
}

/** All: no other node is missed (there may be none, or none heard of yet); alone: all are. */
export function measurePeers(verdicts: Iterable<NodeVerdict>): Ladder["peers"] {
  let total = 0;
  let reached = 0;
  for (const { state } of verdicts) {
    if (state === "unknown") continue;
    total++;
    if (state === "alive" || state === "agent-down") reached++;
  }
  return reached === total ? "all" : reached > 0 ? "some" : "alone";
}

/** The worst of the four. One missing peer among several is no rung of its own. */
export function rungOf(ladder: Ladder): LadderRung {
  if (ladder.resources === "starved") return "starved";
  if (ladder.peers === "alone") return "alone";
  if (ladder.quorum === "lost") return "quorum-lost";
  if (ladder.quorum === "no-server") return "server-lost";
  if (ladder.hub === "lost") return "hub-lost";
  return "whole";
}

/** For a tired person: what is the matter, what goes on all the same, what does not, what to do. */
export type RungMeaning = {
  readonly title: string;
  readonly goesOn: string;
  readonly stopped: string;
  readonly toDo: string;
};

export const rungMeanings: Readonly<Record<LadderRung, RungMeaning>> = {
  whole: {
    title: "All is well",
    goesOn: "Everything.",
    stopped: "Nothing.",
    toDo: "Nothing.",
  },
  "hub-lost": {
    title: "The hub cannot be reached",
    goesOn: "Everything in this cell. What is meant for the hub is kept here and sent later.",
    stopped: "Changes from the hub, and the hub's view of this cell.",
    toDo: "Check the WAN. Nothing is lost while the disk has room.",
  },
  "server-lost": {
    title: "No server of the cell can be reached from here",
    goesOn: "Running pods, local data, ingress.",
    stopped:
      "Changes (kubectl apply, scale, delete) through this node; with no server left, replacing pods of a dead machine.",
    toDo: "Bring a server of the cell back, or the network towards it.",
  },
  "quorum-lost": {
    title: "The cell's servers have lost their quorum",
    goesOn: "Running pods, local data, ingress, reading what was last known.",
    stopped: "Changes (kubectl apply, scale, delete), and replacing pods of a dead machine.",
    toDo: "Bring servers back until more than half are; docs/operations.md says what to do when they are gone for good.",
  },
  alone: {
    title: "This node hears no other node",
    goesOn: "The pods this node last knew, and its own data.",
    stopped:
      "Everything that needs another machine: replacements, copies on peers, pods elsewhere.",
    toDo: "Check this machine's cable or switch first, then the other machines.",
  },
  starved: {
    title: "This node runs out of disk, memory or power",
    goesOn: "Alarms and durable data, longest of all.",
    stopped: "Work of low priority, telemetry first.",
    toDo: "Free disk or memory here, or move pods away: `skerry doctor` names what is short.",
  },
};

/** What each value of the vector adds, in words; a value that is as it should be adds nothing. */
export const measureMeanings: {
  readonly [Name in keyof Ladder]: Readonly<Record<Ladder[Name], string>>;
} = {
  hub: {
    connected: "",
    none: "",
    lost: "The hub cannot be reached: data for it waits on disk.",
  },
  quorum: {
    held: "",
    "no-server":
      "No server answers: desired state cannot be changed from here, nor does this node learn of changes.",
    lost: "The servers have no quorum: desired state cannot be changed, dead machines' pods are not replaced.",
  },
  peers: {
    all: "",
    some: "Some other nodes cannot be reached.",
    alone: "No other node can be reached: this node runs what it last knew.",
  },
  resources: {
    enough: "",
    starved: "This node is short of disk, memory or power: less important work is shed.",
  },
};

export type LadderStory = RungMeaning & {
  readonly rung: LadderRung;
  /** One line for each measure that is not as it should be, worst first. */
  readonly lines: readonly string[];
};

/** The vector as `skerry status` tells it. */
export function tellLadder(ladder: Ladder): LadderStory {
  const rung = rungOf(ladder);
  const lines = [
    measureMeanings.resources[ladder.resources],
    measureMeanings.peers[ladder.peers],
    measureMeanings.quorum[ladder.quorum],
    measureMeanings.hub[ladder.hub],
  ].filter((line) => line !== "");
  return { rung, ...rungMeanings[rung], lines };
}
