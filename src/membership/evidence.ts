/**
 * Who reached whom, when, and by which path, as one observer can know it. Only what was really heard
 * is kept: silence is never recorded, it is what `verdict.ts` concludes from the absence of marks.
 * All times are this node's monotonic clock; what a peer reports arrives as an age and is turned into
 * such a time. Bounded by the number of known nodes squared.
 */
import type { Beat } from "../api/index.ts";
import type { MonotonicMs } from "../lib/brand.ts";

export type OwnReception = {
  /** By either of the two paths. */
  readonly heardMs: MonotonicMs;
  readonly beatMs: MonotonicMs | undefined;
  /** Frames over its link: only a living agent sends them. */
  readonly linkMs: MonotonicMs | undefined;
  readonly agent: "up" | "down";
  /** Since when its beats say that the agent is down. */
  readonly agentDownSinceMs: MonotonicMs | undefined;
};

export type NodeEvidence = {
  readonly own: OwnReception | undefined;
  /** When its member of the ledger last answered the observer: the machine is there. */
  readonly ledgerMs: MonotonicMs | undefined;
  /** By peer: when that peer last heard this node. */
  readonly heardByPeer: ReadonlyMap<string, MonotonicMs>;
  /** Silence is counted from here at the earliest: node became known, or the observer was asleep. */
  readonly silenceFromMs: MonotonicMs;
  /** When it came back after having been unreachable, oldest first; the last few. */
  readonly flapsMs: readonly MonotonicMs[];
};

export type HubEvidence = {
  readonly contactMs: MonotonicMs;
  /** By node: when the hub last heard from it on a path of its own. */
  readonly heardByHub: ReadonlyMap<string, MonotonicMs>;
  /** Since when the hub has surely listened: whom it did not hear before that, it may have missed by its own fault. */
  readonly listeningMs: MonotonicMs;
};

export type Evidence = {
  readonly self: string;
  /** Every other known node. */
  readonly nodes: ReadonlyMap<string, NodeEvidence>;
  /** By peer: when that peer last heard the observer. */
  readonly selfHeardByPeer: ReadonlyMap<string, MonotonicMs>;
  /** By witness: when it last answered. Members of the ledger that are no nodes. */
  readonly witnesses: ReadonlyMap<string, MonotonicMs>;
  readonly hub: HubEvidence | undefined;
  readonly serverContactMs: MonotonicMs | undefined;
};

export type BeatOutcome = "taken" | "own" | "not-a-known-node" | "replayed";

export interface EvidenceBook {
  readonly evidence: Evidence;
  /** Takes a verified beat that arrived at `nowMs`. Anything but `taken` changed nothing. */
  take(beat: Beat, nowMs: MonotonicMs): BeatOutcome;
  /** Nodes not in `names` are forgotten; new ones are expected from now on. */
  expect(names: readonly string[], nowMs: MonotonicMs): void;
  /** Frames over links, and answers of the ledger's members: each by when it last was heard. */
  note(
    path: "link" | "ledger",
    heardMsByName: ReadonlyMap<string, MonotonicMs>,
    nowMs: MonotonicMs,
  ): void;
  /** `heard`: ages in ms; `listenedForMs`: how long the hub has surely listened, at most for ever. */
  hubContact(
    heard: Readonly<Record<string, number>>,
    listenedForMs: number,
    nowMs: MonotonicMs,
  ): void;
  serverContact(nowMs: MonotonicMs): void;
  /** The observer itself was not listening until `nowMs`: silence before it says nothing, except of nodes already found silent. */
  forgive(nowMs: MonotonicMs, alreadySilent: ReadonlySet<string>): void;
  flapped(node: string, nowMs: MonotonicMs): void;
  /** Ages of what this node heard itself, younger than `ageMsMax`. */
  heard(nowMs: MonotonicMs, ageMsMax: number): Record<string, number>;
}

/** Flaps are judged over ten minutes; more than these say nothing new. */
const flapsMax = 16;
/** Keepers replaced one after the other whose late beats are still recognised as old. */
const retiredKeepersMax = 8;

type Entry = {
  own: OwnReception | undefined;
  ledgerMs: MonotonicMs | undefined;
  heardByPeer: Map<string, MonotonicMs>;
  silenceFromMs: MonotonicMs;
  flapsMs: MonotonicMs[];
  keeper: string | undefined;
  sequence: number;
  retiredKeepers: string[];
};

export function createEvidence(self: string): EvidenceBook {
  const nodes = new Map<string, Entry>();
  const selfHeardByPeer = new Map<string, MonotonicMs>();
  let witnesses: ReadonlyMap<string, MonotonicMs> = new Map();
  let hub: HubEvidence | undefined;
  let serverContactMs: MonotonicMs | undefined;

  /**
   * A keeper is named by its boot and its start. A name not seen before is believed, whatever its
   * wall clock says (a board without a battery may reboot into 1970); a retired one is a replay.
   */
  const follows = (entry: Entry, beat: Beat): boolean => {
    const keeper = `${beat.bootId}/${beat.keeperStartedMs}`;
    if (entry.keeper === keeper) {
      if (beat.sequence <= entry.sequence) return false;
    } else {
      if (entry.retiredKeepers.includes(keeper)) return false;
      if (entry.keeper !== undefined) entry.retiredKeepers.push(entry.keeper);
      if (entry.retiredKeepers.length > retiredKeepersMax) entry.retiredKeepers.shift();
      entry.keeper = keeper;
    }
    entry.sequence = beat.sequence;
    return true;
  };

  return {
    get evidence() {
      return { self, nodes, selfHeardByPeer, witnesses, hub, serverContactMs };
    },
    take(beat, nowMs) {
      if (beat.node === self) return "own";
      const entry = nodes.get(beat.node);
      if (!entry) return "not-a-known-node";
      if (!follows(entry, beat)) return "replayed";
      entry.own = {
        heardMs: nowMs,
        beatMs: nowMs,
        linkMs: entry.own?.linkMs,
        agent: beat.agent,
        agentDownSinceMs: beat.agent === "up" ? undefined : (entry.own?.agentDownSinceMs ?? nowMs),
      };
      for (const [subject, ageMs] of Object.entries(beat.heard)) {
        if (subject === beat.node) continue;
        const heardMs = (nowMs - ageMs) as MonotonicMs;
        const marks = subject === self ? selfHeardByPeer : nodes.get(subject)?.heardByPeer;
        if (marks && heardMs > (marks.get(beat.node) ?? -Infinity)) marks.set(beat.node, heardMs);
      }
      return "taken";
    },
    expect(names, nowMs) {
      const wanted = new Set(names);
      for (const name of nodes.keys()) {
        if (wanted.has(name)) continue;
        nodes.delete(name);
        selfHeardByPeer.delete(name);
        for (const entry of nodes.values()) entry.heardByPeer.delete(name);
      }
      for (const name of wanted) {
        if (name === self || nodes.has(name)) continue;
        nodes.set(name, {
          own: undefined,
          ledgerMs: undefined,
          heardByPeer: new Map(),
          silenceFromMs: nowMs,
          flapsMs: [],
          keeper: undefined,
          sequence: 0,
          retiredKeepers: [],
        });
      }
    },
    note(path, heardMsByName, nowMs) {
      if (path === "ledger") {
        const isWitness = ([name]: [string, MonotonicMs]) => name !== self && !nodes.has(name);
        witnesses = new Map([...heardMsByName].filter(isWitness));
      }
      for (const [name, entry] of nodes) {
        const heardMs = heardMsByName.get(name);
        if (heardMs === undefined || heardMs > nowMs) continue;
        if (path === "ledger") entry.ledgerMs = later(entry.ledgerMs, heardMs);
        else entry.own = withLink(entry.own, heardMs);
      }
    },
    hubContact(heard, listenedForMs, nowMs) {
      const heardByHub = new Map<string, MonotonicMs>();
      for (const [node, ageMs] of Object.entries(heard)) {
        if (nodes.has(node)) heardByHub.set(node, (nowMs - ageMs) as MonotonicMs);
      }
      hub = { contactMs: nowMs, heardByHub, listeningMs: (nowMs - listenedForMs) as MonotonicMs };
    },
    serverContact(nowMs) {
      serverContactMs = nowMs;
    },
    forgive(nowMs, alreadySilent) {
      for (const [name, entry] of nodes) {
        if (!alreadySilent.has(name)) entry.silenceFromMs = nowMs;
      }
    },
    flapped(node, nowMs) {
      const flaps = nodes.get(node)?.flapsMs;
      flaps?.push(nowMs);
      if (flaps && flaps.length > flapsMax) flaps.shift();
    },
    heard(nowMs, ageMsMax) {
      const report: Record<string, number> = {};
      for (const [name, { own }] of nodes) {
        if (own && nowMs - own.heardMs < ageMsMax) report[name] = Math.round(nowMs - own.heardMs);
      }
      return report;
    },
  };
}

/** An agent that sends frames is up, unless a later beat says that it is not any more. */
function withLink(own: OwnReception | undefined, heardMs: MonotonicMs): OwnReception | undefined {
  const linkMs = later(own?.linkMs, heardMs);
  if (own && linkMs <= own.heardMs) return { ...own, linkMs };
  return {
    heardMs: linkMs,
    beatMs: own?.beatMs,
    linkMs,
    agent: "up",
    agentDownSinceMs: undefined,
  };
}

const later = (a: MonotonicMs | undefined, b: MonotonicMs): MonotonicMs =>
  a === undefined || b > a ? b : a;
