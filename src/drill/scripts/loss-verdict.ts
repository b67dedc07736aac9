/** What the loss of machines did to those that live on. Pure, and as strict as `verdict.ts`. */
import { atMost, type FaultRecord, type PromiseResult } from "../drill.ts";
import type { RequestSample } from "../load/requests.ts";
import {
  afterglowMs,
  elapsedMs,
  notMeasured,
  p99Between,
  type EndedOutage,
  type Outage,
} from "./verdict.ts";

export const replacedWithinMs = 3000;
export const p99DuringMs = 1000;

/** A machine that was not the server's went away for longer than a node may be silent. */
export type Loss = Outage & {
  readonly returnedMs: number;
  /** Pods that ran when it went, and where; others are replacements. */
  readonly podsBefore: readonly { readonly name: string; readonly node: string }[];
};

export type LossesSeen = {
  readonly nodes: readonly string[];
  readonly samples: readonly RequestSample[];
  readonly losses: readonly Loss[];
  /** All outages, so that "during" covers agents and pauses as well. */
  readonly outages: readonly EndedOutage[];
  /** Pods of the application beyond or short of what is wanted, once all were back. */
  readonly podsOff: number;
};

/**
 * R1 counts from the fault until every ingress that lives has answered, and each that has no old pod
 * beside it (an ingress prefers the pod beside it) by a pod that did not run before; R2 looks at what was under way from the fault until then and a second on.
 */
export function lossPromises(
  seen: LossesSeen,
  limits: { readonly replacedWithinMs?: number } = {},
): PromiseResult[] {
  const replacedMs = seen.losses.map((loss) => replacementMs(seen, loss));
  return [
    atMost(
      "R1",
      "a lost machine's pod replaced by one that answers, as does every ingress that lives",
      replacedMs.length === 0 ? notMeasured : Math.max(...replacedMs),
      limits.replacedWithinMs ?? replacedWithinMs,
      "ms",
    ),
    atMost(
      "R2",
      "p99 of requests through the other nodes, from a fault until its end or replacement and 1 s on",
      seen.outages.length === 0
        ? notMeasured
        : Math.max(...seen.outages.map((outage) => p99During(seen, outage))),
      p99DuringMs,
      "ms",
    ),
    atMost("R3", "pods too many or too few after all were back", seen.podsOff, 0, "pods"),
  ];
}

/** Outages as records, with what their recovery was: a replacement, or the node's own return. */
export function recordsOf(seen: LossesSeen): FaultRecord[] {
  return seen.outages.map((outage) => {
    const loss = lossOf(seen, outage);
    const recoveredMs = loss ? replacementMs(seen, loss) : elapsedMs(outage.fromMs, outage.toMs);
    // What never came back carries no number.
    return {
      atMs: outage.atMs,
      fault: outage.fault,
      ...(recoveredMs === notMeasured ? {} : { recoveredMs }),
    };
  });
}

const lossOf = ({ losses }: LossesSeen, { node, fromMs }: Outage) =>
  losses.find((loss) => loss.node === node && loss.fromMs === fromMs);

/** From the fault until the last surviving ingress, and a new pod, have answered. */
export function replacementMs({ nodes, samples }: LossesSeen, loss: Loss): number {
  const isNew = (by: string | undefined) =>
    by !== undefined && !loss.podsBefore.some(({ name }) => name === by);
  const survivors = nodes.filter((node) => node !== loss.node);
  /** Since the fault, of what was asked after it. */
  const answersMs = (through: readonly string[], newOnly: boolean) =>
    samples.flatMap(({ target, by, failure, atMs, tookMs }) =>
      through.includes(target) &&
      failure === undefined &&
      atMs >= loss.fromMs &&
      (!newOnly || isNew(by))
        ? [atMs + tookMs - loss.fromMs]
        : [],
    );
  const waits = [
    answersMs(survivors, true),
    ...survivors.map((node) =>
      answersMs([node], !loss.podsBefore.some((pod) => pod.node === node)),
    ),
  ];
  if (survivors.length === 0 || waits.some((answers) => answers.length === 0)) return notMeasured;
  return Math.round(Math.max(...waits.map((answers) => Math.min(...answers))));
}

function p99During(seen: LossesSeen, outage: EndedOutage): number {
  const loss = lossOf(seen, outage);
  const replaced = loss ? replacementMs(seen, loss) : notMeasured;
  const endMs =
    loss && replaced !== notMeasured ? loss.fromMs + replaced : (outage.returnedMs ?? outage.toMs);
  return p99Between(
    seen.samples,
    seen.nodes.filter((node) => node !== outage.node),
    { fromMs: outage.fromMs, toMs: endMs + afterglowMs },
  );
}
