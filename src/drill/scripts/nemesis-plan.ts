/**
 * What the nemesis does and when, from its seed alone. Pure. Every kind of fault comes once before any
 * comes again; some come while another is under way. What must not be done to a machine at once never is.
 */
import { seededRandom, type Random } from "../../lib/random.ts";
import type { MachineName } from "../site/network.ts";

export type NemesisFault =
  /** Cut off, then SIGKILL to all of it; it starts again afterwards. */
  | { readonly fault: "kill"; readonly node: MachineName }
  /** SIGSTOP to all of it, its clients included. */
  | { readonly fault: "freeze"; readonly node: MachineName }
  | { readonly fault: "kill agent"; readonly node: MachineName }
  | { readonly fault: "kill ledger"; readonly node: MachineName }
  | { readonly fault: "cut"; readonly node: MachineName }
  | { readonly fault: "part"; readonly node: MachineName; readonly other: MachineName }
  /** `node` does not hear `other`. */
  | { readonly fault: "deafen"; readonly node: MachineName; readonly other: MachineName }
  | {
      readonly fault: "flap";
      readonly node: MachineName;
      readonly other: MachineName;
      readonly everyMs: number;
    }
  | { readonly fault: "lose packets"; readonly node: MachineName; readonly share: number }
  | { readonly fault: "slow link"; readonly node: MachineName; readonly delayMs: number }
  | { readonly fault: "slow disk"; readonly node: MachineName; readonly delayMs: number }
  | { readonly fault: "full disk"; readonly node: MachineName }
  /** Killed with all it had; another machine takes its place under its name. */
  | { readonly fault: "replace"; readonly node: MachineName }
  | { readonly fault: "move leader"; readonly node: MachineName }
  | { readonly fault: "restart all" };

export type NemesisStep = {
  /** Since the clients began. */
  readonly atMs: number;
  /** How long it lasts. */
  readonly forMs: number;
} & NemesisFault;

type Kind = NemesisFault["fault"];

const everyKind: readonly Kind[] = [
  "kill",
  "freeze",
  "kill agent",
  "kill ledger",
  "cut",
  "part",
  "deafen",
  "flap",
  "lose packets",
  "slow link",
  "slow disk",
  "full disk",
  "replace",
  "move leader",
  "restart all",
];
/** At the beginning all is well, so that there is something to lose; at the end it heals. */
const calmShare = { before: 0.06, after: 0.15 };
const lastsMs = { least: 1500, most: 6000 };
const restMs = { least: 1000, most: 3500 };
const togetherShare = 0.35;
/** During which nothing else is done to any machine. */
const alone: readonly Kind[] = ["restart all"];
/** Their end is somebody else's: the keeper's. */
const momentary: readonly Kind[] = ["kill agent", "kill ledger", "move leader"];
/** What a cell of one server does not have. */
const ofSeveralServers: readonly Kind[] = ["kill ledger", "replace", "move leader"];

export function planNemesis(options: {
  readonly seed: number;
  readonly forMs: number;
  readonly nodes: readonly MachineName[];
  readonly servers: number;
}): NemesisStep[] {
  const random = seededRandom(options.seed);
  const bag = bagOf(
    everyKind.filter((kind) => options.servers > 1 || !ofSeveralServers.includes(kind)),
    random,
  );
  const between = ({ least, most }: { least: number; most: number }) =>
    Math.round(least + random.float() * (most - least));
  const endMs = options.forMs * (1 - calmShare.after);
  const steps: NemesisStep[] = [];
  for (let atMs = Math.round(options.forMs * calmShare.before); ;) {
    const forMs = Math.min(between(lastsMs), Math.max(1000, options.forMs * 0.15));
    if (atMs + forMs > endMs) return steps;
    const first = faultOf(bag.next(), options.nodes, random);
    steps.push({ atMs, forMs: Math.round(forMs), ...first });
    if (random.float() < togetherShare && !alone.includes(first.fault)) {
      const kind = bag.next((one) => !alone.includes(one) && one !== first.fault);
      const second = faultOf(
        kind,
        options.nodes.filter((node) => !touches(first, node)),
        random,
        options.nodes,
      );
      const laterMs = Math.round(random.float() * forMs * 0.5);
      steps.push({ atMs: atMs + laterMs, forMs: Math.round(forMs - laterMs), ...second });
    }
    atMs += Math.round(forMs) + between(restMs);
  }
}

/** For a person and for the report. */
export function describeFault(step: NemesisFault): string {
  switch (step.fault) {
    case "part":
      return `part ${step.node} and ${step.other}`;
    case "deafen":
      return `deafen ${step.node} to ${step.other}`;
    case "flap":
      return `link of ${step.node} and ${step.other} flaps every ${step.everyMs} ms`;
    case "lose packets":
      return `${Math.round(step.share * 100)} % of the packets to ${step.node} lost`;
    case "slow link":
      return `packets to ${step.node} late by ${step.delayMs} ms`;
    case "slow disk":
      return `fsync of ${step.node} takes ${step.delayMs} ms more`;
    case "full disk":
      return `disk of ${step.node} full`;
    case "restart all":
      return "kill all nodes, then start them";
    case "kill agent":
    case "kill ledger":
      return `${step.fault} of ${step.node}`;
    case "kill":
      return `cut off and kill ${step.node}`;
    case "replace":
      return `kill ${step.node} and wipe its disk, then put another in its place`;
    case "move leader":
      return `move leadership to ${step.node}`;
    case "freeze":
    case "cut":
      return `${step.fault} ${step.node}`;
  }
}

export const isMomentary = ({ fault }: NemesisFault) => momentary.includes(fault);

const touches = (step: NemesisFault, node: MachineName) => "node" in step && step.node === node;

function faultOf(
  kind: Kind,
  nodes: readonly MachineName[],
  random: Random,
  all: readonly MachineName[] = nodes,
): NemesisFault {
  const node = nodes[random.integer(nodes.length)] ?? "";
  const others = all.filter((one) => one !== node);
  const other = others[random.integer(others.length)] ?? "";
  switch (kind) {
    case "part":
    case "deafen":
      return { fault: kind, node, other };
    case "flap":
      return { fault: kind, node, other, everyMs: 200 + random.integer(800) };
    case "lose packets":
      return { fault: kind, node, share: 0.05 + random.float() * 0.35 };
    case "slow link":
      return { fault: kind, node, delayMs: 10 + random.integer(190) };
    case "slow disk":
      return { fault: kind, node, delayMs: 10 + random.integer(190) };
    case "restart all":
      return { fault: kind };
    default:
      return { fault: kind, node };
  }
}

/** Each kind once, in an order of chance, before any again. */
function bagOf(
  kinds: readonly Kind[],
  random: Random,
): { next(fits?: (kind: Kind) => boolean): Kind } {
  let left: Kind[] = [];
  return {
    next(fits = () => true) {
      if (!left.some(fits)) left = [...left, ...kinds];
      const fitting = left.filter(fits);
      const chosen = fitting[random.integer(fitting.length)] ?? "cut";
      left.splice(left.indexOf(chosen), 1);
      return chosen;
    },
  };
}
