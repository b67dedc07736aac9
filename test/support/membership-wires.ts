/**
 * What a virtual cell has besides beats: links, over which frames come once a second where both
 * directions pass, and a ledger that servers (and a witness) share. Of the ledger only what membership
 * may see is played: which members answer, and when a quorum last did.
 */
import type { MonotonicMs } from "../../src/lib/brand.ts";
import type { Clock } from "../../src/lib/clock.ts";
import type { Random } from "../../src/lib/random.ts";
import type { LedgerSituation } from "../../src/membership/index.ts";
import type { Traffic } from "./membership-cell.ts";

export type WiresOptions = {
  /** The first nodes of the cell are servers; below two the ledger is a sole server's. */
  readonly servers: number;
  /** Its name: a voter that is no node, beats to nobody and hears nobody. */
  readonly witness?: string;
  /** False: no links, as while their handshakes are refused. */
  readonly links?: boolean;
};

export type Wires = {
  links(node: string): ReadonlyMap<string, MonotonicMs>;
  ledger(node: string): LedgerSituation;
  quorumSinceMs(server: string): number | undefined;
  stop(): void;
};

const pingMs = 1000;
const proveMs = 300;
const membersMs = 1000;
/** As in the agent: how long a proof lasts. */
const provedFreshMs = 3000;

export function createWires(
  network: {
    readonly clock: Clock;
    readonly random: Random;
    readonly names: readonly string[];
    passes(traffic: Traffic, from: string, to: string): boolean;
    machineRuns(name: string): boolean;
    runs(name: string): boolean;
  },
  options: WiresOptions,
): Wires {
  const { clock, random, names, machineRuns, runs } = network;
  const servers = names.slice(0, options.servers);
  const voters = [...servers, ...(options.witness === undefined ? [] : [options.witness])];
  const isShared = voters.length > 1;
  let stopped = false;

  const linksByNode = new Map(names.map((name) => [name, new Map<string, MonotonicMs>()]));
  const answeredByServer = new Map(servers.map((name) => [name, new Map<string, MonotonicMs>()]));
  const provedByServer = new Map<string, MonotonicMs>();
  const quorumByServer = new Map<string, number>();

  const bothWays = (traffic: Traffic, a: string, b: string) =>
    network.passes(traffic, a, b) && network.passes(traffic, b, a);
  const talks = (a: string, b: string) =>
    machineRuns(a) && machineRuns(b) && (a === b || bothWays("ledger", a, b));
  const reachesQuorum = (server: string) =>
    voters.some(
      (leader) =>
        talks(server, leader) &&
        voters.filter((voter) => talks(leader, voter)).length * 2 > voters.length,
    );

  const every = (periodMs: number, work: () => void) => {
    const run = () => {
      if (stopped) return;
      work();
      clock.after(periodMs, run);
    };
    clock.after(random.float() * periodMs, run);
  };
  if (options.links !== false)
    for (const a of names)
      for (const b of names)
        if (a < b)
          every(pingMs, () => {
            if (!runs(a) || !runs(b) || !bothWays("links", a, b)) return;
            linksByNode.get(a)?.set(b, clock.monotonicMs());
            linksByNode.get(b)?.set(a, clock.monotonicMs());
          });
  if (isShared)
    for (const server of servers) {
      every(proveMs, () => {
        if (runs(server) && reachesQuorum(server)) provedByServer.set(server, clock.monotonicMs());
      });
      every(membersMs, () => {
        if (!runs(server)) return;
        for (const member of voters)
          if (talks(server, member)) answeredByServer.get(server)?.set(member, clock.monotonicMs());
      });
      every(50, () => {
        if (!reachesQuorum(server)) quorumByServer.delete(server);
        else if (!quorumByServer.has(server)) quorumByServer.set(server, clock.monotonicMs());
      });
    }

  return {
    links: (node) => linksByNode.get(node) ?? new Map<string, MonotonicMs>(),
    ledger(node) {
      const answered = answeredByServer.get(node);
      if (!isShared || !answered) return { state: "sole" };
      const provedMs = provedByServer.get(node);
      const isProved = provedMs !== undefined && clock.monotonicMs() - provedMs < provedFreshMs;
      return {
        state: "shared",
        quorum: isProved ? "held" : "lost",
        provedMs,
        members: voters.map((name) => ({
          name,
          votes: true,
          leads: false,
          answeredMs: answered.get(name),
        })),
      };
    },
    quorumSinceMs: (server) => quorumByServer.get(server),
    stop: () => void (stopped = true),
  };
}
