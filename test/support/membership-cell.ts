/**
 * A cell in virtual time: per node a keeper that beats and an agent that listens, over directed links
 * that can be cut one way. With `wires` its agents hold mTLS links too, and its servers share a ledger
 * (`membership-wires.ts`). Everything random comes from the seed.
 */
import type { Beat, NodeVerdict } from "../../src/api/index.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { createSignals } from "../../src/lib/signals.ts";
import { createWires, type WiresOptions } from "./membership-wires.ts";
import {
  createMembership,
  type HeardReport,
  type Membership,
  type MembershipEvents,
  type MembershipOptions,
  type Situation,
} from "../../src/membership/index.ts";

export const beatMs = 300;
const delayMsMax = 20;

export type VerdictRecord = {
  readonly atMs: number;
  readonly observer: string;
  readonly node: string;
  readonly verdict: NodeVerdict;
};

type VirtualNode = {
  readonly name: string;
  keeper: "up" | "dead";
  agent: "up" | "down";
  paused: boolean;
  frozen: boolean;
  membership: Membership | undefined;
  /** What waits for a stopped process: timers run first when it goes on, sockets are read after. */
  held: { timers: (() => void)[]; sockets: (() => void)[] };
  report: { heard: HeardReport; atMs: number };
  sequence: number;
  keeperStartedMs: number;
  situation: Situation;
};

/** Firewalls may let some of it pass. A link that is cut lets nothing pass. */
export type Traffic = "beats" | "links" | "ledger";

export type VirtualCell = {
  readonly clock: SimulatedClock;
  readonly names: readonly string[];
  readonly random: Random;
  readonly verdicts: readonly VerdictRecord[];
  membership(name: string): Membership;
  onVerdict(listener: (record: VerdictRecord) => void): void;
  /** Its agent works at this moment. */
  runs(name: string): boolean;
  /** Whether what `from` sends reaches `to`; without `traffic`, its beats. */
  hears(to: string, from: string, traffic?: Traffic): boolean;
  /** One direction only, of some of the traffic only. */
  setTraffic(traffic: Traffic, from: string, to: string, up: boolean): void;
  /** Since when a quorum of the ledger has been within reach of that server; undefined: it is not. */
  quorumSinceMs(server: string): number | undefined;
  state(observer: string, node: string): NodeVerdict["state"] | undefined;
  /** One direction only. */
  setLink(from: string, to: string, up: boolean): void;
  /** Both directions with everybody. */
  isolate(name: string, isolated: boolean): void;
  killNode(name: string): void;
  startNode(name: string): void;
  stopAgent(name: string): void;
  startAgent(name: string): void;
  pauseAgent(name: string): void;
  resumeAgent(name: string): void;
  /** Every process of it: nothing is sent, what arrives waits. */
  freezeNode(name: string): void;
  thawNode(name: string): void;
  setSituation(name: string, situation: Partial<Situation>): void;
  /** Has every second since `sinceMs` been free of faults on a path from `node` to `observer`? */
  pathHeldSince(node: string, observer: string, sinceMs: number): boolean;
  stop(): void;
};

export function createVirtualCell(options: {
  nodes: number;
  seed: number;
  membership?: MembershipOptions;
  clock?: SimulatedClock;
  wires?: WiresOptions;
}): VirtualCell {
  const clock = options.clock ?? createSimulatedClock();
  const random = seededRandom(options.seed);
  const names = Array.from({ length: options.nodes }, (_, index) => `n${index + 1}`);
  const verdicts: VerdictRecord[] = [];
  const verdictListeners: ((record: VerdictRecord) => void)[] = [];
  const cut = new Set<string>();
  /** When a link, a keeper or an agent last changed: what a path's health is judged by. */
  const changedMs = new Map<string, number>();
  const changed = (what: string) => changedMs.set(what, clock.monotonicMs());
  const nodes = new Map<string, VirtualNode>();
  let stopped = false;

  const passes = (traffic: Traffic, from: string, to: string) =>
    !cut.has(`${from}>${to}`) && !cut.has(`${traffic}:${from}>${to}`);

  const get = (name: string): VirtualNode => {
    const node = nodes.get(name);
    if (!node) throw new Error(`no virtual node ${name}`);
    return node;
  };

  /** Runs `work` in the agent's process: later, when that is stopped. */
  const inAgent = (node: VirtualNode, from: "timers" | "sockets", work: () => void) => {
    if (node.paused) node.held[from].push(work);
    else work();
  };

  const agentClock = (node: VirtualNode): Clock => ({
    ...clock,
    after: (delayMs, callback) => clock.after(delayMs, () => inAgent(node, "timers", callback)),
  });

  const startAgent = (node: VirtualNode) => {
    if (node.agent === "up" || node.keeper === "dead") return;
    node.agent = "up";
    changed(node.name);
    const signals = createSignals<MembershipEvents>({
      onListenerError(error) {
        throw error;
      },
    });
    signals.on("verdict", ({ node: judged, verdict }) => {
      const record = {
        atMs: clock.monotonicMs(),
        observer: node.name,
        node: judged,
        verdict,
      };
      verdicts.push(record);
      for (const listener of verdictListeners) listener(record);
    });
    node.membership = createMembership(
      {
        self: node.name,
        clock: agentClock(node),
        log: silentLog,
        signals,
        ports: {
          nodes: () => names,
          setHeard: (heard) => (node.report = { heard, atMs: clock.monotonicMs() }),
          situation: () => node.situation,
          links: () => wires?.links(node.name) ?? new Map(),
          ledger: () => wires?.ledger(node.name) ?? { state: "sole" },
        },
      },
      options.membership,
    );
  };

  const stopAgent = (node: VirtualNode) => {
    if (node.agent === "down") return;
    node.membership?.stop();
    node.membership = undefined;
    node.agent = "down";
    node.paused = false;
    node.held = { timers: [], sockets: [] };
    changed(node.name);
  };

  const beat = (node: VirtualNode) => {
    if (node.keeper === "dead" || node.frozen) return;
    const ageMs = clock.monotonicMs() - node.report.atMs;
    const message: Beat = {
      node: node.name,
      bootId: "boot",
      keeperStartedMs: node.keeperStartedMs,
      sequence: ++node.sequence,
      agent: node.agent,
      heard: Object.fromEntries(
        Object.entries(node.report.heard).map(([peer, heardMs]) => [peer, heardMs + ageMs]),
      ),
    };
    for (const to of names) {
      if (to === node.name || !passes("beats", node.name, to)) continue;
      clock.after(random.float() * delayMsMax, () => {
        const receiver = get(to);
        inAgent(receiver, "sockets", () => receiver.membership?.onBeat(message));
      });
    }
  };

  const beating = (node: VirtualNode) => {
    if (stopped) return;
    beat(node);
    clock.after(beatMs, () => beating(node));
  };

  const machineRuns = (name: string) => {
    const node = nodes.get(name);
    // What is no node is a witness.
    return node === undefined || (node.keeper === "up" && !node.frozen);
  };
  const runs = (name: string) => machineRuns(name) && get(name).agent === "up" && !get(name).paused;
  const wires =
    options.wires &&
    createWires({ clock, random, names, passes, machineRuns, runs }, options.wires);

  for (const name of names) {
    const node: VirtualNode = {
      name,
      keeper: "up",
      agent: "down",
      paused: false,
      frozen: false,
      membership: undefined,
      held: { timers: [], sockets: [] },
      report: { heard: {}, atMs: 0 },
      sequence: 0,
      keeperStartedMs: 1,
      situation: { hub: "connected", quorum: "held", resources: "enough" },
    };
    nodes.set(name, node);
    startAgent(node);
    clock.after(random.float() * beatMs, () => beating(node));
  }

  const setLink = (from: string, to: string, up: boolean) => {
    if (up) cut.delete(`${from}>${to}`);
    else cut.add(`${from}>${to}`);
    changed(`${from}>${to}`);
  };

  return {
    clock,
    names,
    random,
    verdicts,
    membership(name) {
      const { membership } = get(name);
      if (!membership) throw new Error(`the agent of ${name} is down`);
      return membership;
    },
    onVerdict: (listener) => void verdictListeners.push(listener),
    runs,
    hears: (to, from, traffic = "beats") => passes(traffic, from, to),
    setTraffic(traffic, from, to, up) {
      if (up) cut.delete(`${traffic}:${from}>${to}`);
      else cut.add(`${traffic}:${from}>${to}`);
      if (traffic === "beats") changed(`${from}>${to}`);
    },
    quorumSinceMs: (server) => wires?.quorumSinceMs(server),
    state: (observer, node) => get(observer).membership?.verdicts().get(node)?.state,
    setLink,
    isolate(name, isolated) {
      for (const other of names) {
        if (other === name) continue;
        setLink(name, other, !isolated);
        setLink(other, name, !isolated);
      }
    },
    killNode(name) {
      const node = get(name);
      stopAgent(node);
      node.keeper = "dead";
      changed(name);
    },
    startNode(name) {
      const node = get(name);
      if (node.keeper === "up") return;
      node.keeper = "up";
      node.keeperStartedMs++;
      node.sequence = 0;
      node.report = { heard: {}, atMs: clock.monotonicMs() };
      startAgent(node);
    },
    stopAgent: (name) => stopAgent(get(name)),
    startAgent: (name) => startAgent(get(name)),
    pauseAgent(name) {
      const node = get(name);
      if (node.agent === "down") return;
      node.paused = true;
      changed(name);
    },
    resumeAgent(name) {
      const node = get(name);
      if (!node.paused) return;
      node.paused = false;
      changed(name);
      const { timers, sockets } = node.held;
      node.held = { timers: [], sockets: [] };
      for (const work of [...timers, ...sockets]) work();
    },
    freezeNode(name) {
      const node = get(name);
      node.frozen = true;
      node.paused = node.agent === "up";
      changed(name);
    },
    thawNode(name) {
      const node = get(name);
      if (!node.frozen) return;
      node.frozen = false;
      changed(name);
      // Its timer was due long ago.
      beat(node);
      this.resumeAgent(name);
    },
    setSituation(name, situation) {
      const node = get(name);
      node.situation = { ...node.situation, ...situation };
    },
    pathHeldSince(node, observer, sinceMs) {
      const steady = (what: string) => (changedMs.get(what) ?? 0) <= sinceMs;
      const linked = (from: string, to: string) =>
        passes("beats", from, to) && steady(`${from}>${to}`);
      const listening = (name: string) =>
        get(name).agent === "up" && !get(name).paused && steady(name);
      if (!machineRuns(node) || !steady(node)) return false;
      if (linked(node, observer)) return true;
      return names.some(
        (peer) =>
          peer !== node &&
          peer !== observer &&
          listening(peer) &&
          linked(node, peer) &&
          linked(peer, observer),
      );
    },
    stop() {
      stopped = true;
      wires?.stop();
      for (const node of nodes.values()) stopAgent(node);
    },
  };
}
