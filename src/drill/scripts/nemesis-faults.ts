/** Does what the plan says, and undoes it: the nemesis' hands. */
import { readdirSync, readlinkSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { alongside } from "../../lib/alongside.ts";
import { explain, SkerryError, systemCode } from "../../lib/errors.ts";
import type { Clock } from "../../lib/clock.ts";
import type { SlowDisks } from "../faults/slow-disk.ts";
import type { Volume } from "../faults/volume.ts";
import { createWires, type Direction, type WireFault } from "../faults/wires.ts";
import type { MachineName, Network } from "../site/network.ts";
import { signalAll } from "../site/processes.ts";
import type { Site } from "../site/site.ts";
import type { Clients } from "./nemesis-clients.ts";
import type { NemesisFault } from "./nemesis-plan.ts";

const patienceMs = 60_000;
const retryMs = 1000;

export type Hands = {
  /** Resolves with what undoes it. */
  inflict(fault: NemesisFault): Promise<() => Promise<void>>;
  /** Whatever is still broken is mended; what was killed starts. */
  mendAll(): Promise<void>;
};

export function createHands(deps: {
  readonly site: Site;
  readonly network: Network;
  readonly clients: Clients;
  readonly disks: SlowDisks;
  readonly volumesByNode: ReadonlyMap<MachineName, Volume>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly slowness: number;
  progress(text: string): void;
}): Hands {
  const { site, network, clients, disks, volumesByNode, clock, signal } = deps;
  const wires = createWires(network);
  const names = site.nodes.map(({ node }) => node);
  const down = new Set<MachineName>();
  const wiped = new Set<MachineName>();
  const others = (node: MachineName) => names.filter((one) => one !== node);

  const kill = async (node: MachineName) => {
    down.add(node);
    await site.cutLink(node);
    await site.killNode(node);
    clients.lost(node);
  };
  /** An agent is ready when it has servers to ask: while these are away, it takes more than one try. */
  const untilDone = async (what: string, action: () => Promise<unknown>) => {
    const giveUpMs = clock.monotonicMs() + patienceMs * deps.slowness;
    for (;;) {
      try {
        return await action();
      } catch (error) {
        if (signal.aborted || clock.monotonicMs() > giveUpMs) throw error;
        deps.progress(`${what}: not yet: ${explain(error).slice(0, 300)}`);
        await clock.sleep(retryMs, { signal });
      }
    }
  };
  const start = async (node: MachineName) => {
    await site.healLink(node);
    await untilDone(`start ${node}`, () => site.startNode(node));
    down.delete(node);
    clients.start(node);
  };
  const replace = async (node: MachineName) => {
    const [from = ""] = others(node).filter((one) => !down.has(one));
    await site.healLink(node);
    await untilDone(`join ${node} anew`, () => site.joinAnew(node, from));
    await untilDone(`replace ${node}`, () => site.skerry(from, ["server", "replace", node]));
    wiped.delete(node);
    down.delete(node);
    clients.start(node);
  };
  const inEach = async (directions: readonly Direction[], fault: WireFault) => {
    await Promise.all(directions.map((direction) => wires.set(direction, fault)));
    return async () => {
      await Promise.all(directions.map((direction) => wires.heal(direction)));
    };
  };
  const towards = (node: MachineName) => others(node).map((from) => ({ from, to: node }));
  const both = (a: MachineName, b: MachineName) => [
    { from: a, to: b },
    { from: b, to: a },
  ];

  return {
    async inflict(fault) {
      switch (fault.fault) {
        case "kill": {
          const { node } = fault;
          await kill(node);
          return () => start(node);
        }
        case "replace": {
          const { node } = fault;
          await kill(node);
          wiped.add(node);
          const folder = site.dataDirOf(node);
          for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
          return () => replace(node);
        }
        case "move leader": {
          const { node } = fault;
          const move = () => site.skerry(node, ["server", "move-leader", node]);
          // Refused or failed, it was asked for while everybody else was asking for other things.
          await move().catch((error: unknown) => deps.progress(explain(error).slice(0, 300)));
          return async () => {};
        }
        case "restart all": {
          await Promise.all(names.map(kill));
          return async () => {
            await Promise.all(names.map(start));
          };
        }
        case "freeze": {
          const { node } = fault;
          await site.freezeNode(node);
          return async () => site.thawNode(node);
        }
        case "kill agent":
          signalAll([site.nodeInfo(fault.node).agentPid], "SIGKILL");
          return async () => {};
        case "kill ledger":
          signalAll(site.processesOf(fault.node).filter(isLedger), "SIGKILL");
          return async () => {};
        case "cut": {
          const { node } = fault;
          await site.cutLink(node);
          return () => site.healLink(node);
        }
        case "part":
          return await inEach(both(fault.node, fault.other), { state: "dropped" });
        case "deafen":
          return await inEach([{ from: fault.other, to: fault.node }], { state: "dropped" });
        case "flap":
          return flap(fault);
        case "lose packets":
          return await inEach(towards(fault.node), { state: "lossy", share: fault.share });
        case "slow link":
          return await inEach(towards(fault.node), {
            state: "slow",
            delayMs: fault.delayMs,
            jitterMs: Math.round(fault.delayMs / 4),
          });
        case "slow disk": {
          const { node } = fault;
          disks.set(node, fault.delayMs);
          return async () => disks.set(node, 0);
        }
        case "full disk": {
          const volume = volumesByNode.get(fault.node);
          if (!volume) {
            throw new SkerryError({
              code: "drill-step-failed",
              message: `${fault.node} has no volume that could be full`,
            });
          }
          await volume.fill();
          return async () => volume.free();
        }
      }
    },
    async mendAll() {
      await wires.healAll();
      for (const volume of volumesByNode.values()) volume.free();
      for (const node of names) {
        disks.set(node, 0);
        await site.healLink(node);
        site.thawNode(node);
      }
      await Promise.all([...down].map((node) => (wiped.has(node) ? replace(node) : start(node))));
    },
  };

  /** Cut and whole in turns until it is undone. */
  function flap(fault: Extract<NemesisFault, { fault: "flap" }>): () => Promise<void> {
    const stop = new AbortController();
    const work = async () => {
      while (!stop.signal.aborted) {
        const undo = await inEach(both(fault.node, fault.other), { state: "dropped" });
        // Stopped or not, what was cut is healed.
        await clock.sleep(fault.everyMs, { signal: stop.signal }).catch(() => undefined);
        await undo();
        await clock.sleep(fault.everyMs, { signal: stop.signal }).catch(() => undefined);
      }
    };
    const working = alongside(work());
    return async () => {
      stop.abort();
      await working;
    };
  }
}

/** By the program that it runs, among the processes of one machine. */
function isLedger(pid: number): boolean {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`)) === "etcd";
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ESRCH") return false;
    throw error;
  }
}
