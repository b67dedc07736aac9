/** Carries a change out: look, plan, one step, and again, until it is done or can go no further. */
import type { Clock } from "../../lib/clock.ts";
import { explain, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { planChange, type Change, type MembershipView, type Step } from "./plan.ts";

export interface ServersPort {
  /** What is seen now of the members, and of the nodes named. Throws what asking throws. */
  observe(nodes: readonly string[]): Promise<MembershipView>;
  /**
   * One step, safe to repeat. Throws: a retryable error means "again later", another ends the change.
   * `tell` takes lines for the person who waits.
   */
  perform(step: Step, tell: (line: string) => void): Promise<void>;
}

export type Outcome =
  | { readonly state: "done"; readonly message: string }
  | { readonly state: "refused" | "failed"; readonly message: string; readonly hint: string };

export type RunOptions = {
  readonly tell: (line: string) => void;
  readonly signal: AbortSignal;
  /** How long nothing may move before it is given up. Default 2 min. */
  readonly patienceMs?: number;
  /** How long a refusal that may pass has to stand. Default 10 s. */
  readonly refusalMs?: number;
};

const lookEveryMs = 300;

export const nodesOf = (change: Change): readonly string[] =>
  change.verb === "replace" ? [...new Set([change.node, change.by])] : [change.node];

/** Throws only what the aborted signal says: somebody else goes on then. */
export async function runChange(
  deps: { clock: Clock; log: Log },
  port: ServersPort,
  change: Change,
  options: RunOptions,
): Promise<Outcome> {
  const { clock, log } = deps;
  const { tell, signal } = options;
  const patienceMs = options.patienceMs ?? 120_000;
  let standing: { what: string; sinceMs: number } | undefined;
  let why: { readonly text: string; readonly error?: unknown } = { text: "nothing was seen yet" };
  /** For how long it has been the same. */
  const standsMs = (what: string): number => {
    const nowMs = clock.monotonicMs();
    if (standing?.what !== what) standing = { what, sinceMs: nowMs };
    return nowMs - standing.sinceMs;
  };
  const rest = () => clock.sleep(lookEveryMs, { signal });

  for (;;) {
    signal.throwIfAborted();
    let what = "look";
    try {
      const plan = planChange(change, await port.observe(nodesOf(change)));
      switch (plan.state) {
        case "done":
          return plan;
        case "refused":
          what = `refused: ${plan.message}`;
          if (!plan.mayPass) return plan;
          if (standing?.what !== what) tell(`waiting: ${plan.message}`);
          if (standsMs(what) >= (options.refusalMs ?? 10_000)) return plan;
          why = { text: plan.message };
          break;
        case "wait": {
          const { node, because } = plan;
          const text = node === undefined ? because : `${node}: ${because}`;
          what = `wait: ${text}`;
          // Lines are told of the change's node.
          if (standing?.what !== what) tell(`waiting: ${node === change.node ? because : text}`);
          why = { text };
          break;
        }
        case "next":
          what = JSON.stringify(plan.step);
          if (standing?.what !== what) tell(sayStep(plan.step, change.node));
          // Its patience begins with the first attempt.
          standsMs(what);
          await port.perform(plan.step, tell);
          why = { text: "the step had no effect yet" };
          break;
        default:
          return plan satisfies never;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SkerryError && !error.retryable) return failed(error);
      log.debug("a step is tried again", { what, error });
      why = { text: explain(error), error };
    }
    if (standsMs(what) >= patienceMs)
      return {
        state: "failed",
        message: `given up after ${Math.round(patienceMs / 1000)} s: ${why.text}`,
        hint: "what was reached stays; the same command goes on from there",
      };
    await rest();
  }
}

const failed = ({ message, hint }: SkerryError): Outcome => ({
  state: "failed",
  message,
  hint: hint ?? "what was reached stays; the same command goes on from there",
});

/** Each line is told of the change's node: its name stands before it already. */
function sayStep(step: Step, toldOf: string): string {
  if (step.step === "convert")
    return "converting the ledger from SQLite to etcd; writes wait for a moment";
  const who = step.node === toldOf ? "it" : step.node;
  switch (step.step) {
    case "add-learner":
      return `adding ${who} to the ledger, without a vote yet (${step.peerUrl})`;
    case "start":
      return `handing ${who} the cell's authority and starting etcd there`;
    case "promote":
      return `waiting until ${who} is in sync, to give it a vote`;
    case "make-server":
      return `making ${who} a server; its agent restarts once, its pods run on`;
    case "move-leader":
      return `moving the ledger's leadership to ${who}`;
    case "remove-member":
      return `removing ${who} from the ledger's members`;
    case "make-worker":
      return `making ${who} a worker; its agent restarts once, its pods run on`;
  }
}
