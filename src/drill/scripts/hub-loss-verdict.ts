/** What `hub-loss` concludes beyond what every drill does. Pure. */
import { atLeast, atMost, type PromiseResult } from "../drill.ts";
import { hubCatchUpMs, notMeasured, podsChanged } from "./verdict.ts";

/** What a hub answered about itself: a status, or why it did not answer. */
export type Look = { readonly atMs: number; readonly live: string; readonly ready: string };

export type HubLoss = {
  readonly what: string;
  /** Without its database it still answers. */
  readonly hubLives: boolean;
  /** While its database was away. */
  readonly looks: readonly Look[];
  /** From the return until it held all that was acknowledged by then. */
  readonly caughtUpMs: number;
};

export type HubLossSeen = {
  readonly losses: readonly HubLoss[];
  /** Processes of the pods, by pod. */
  readonly before: ReadonlyMap<string, string>;
  readonly after: ReadonlyMap<string, string>;
  readonly podsOff: number;
};

/** By then it has noticed. */
const noticedMs = 3000;
/** In each loss of the database alone. */
const looksMin = 3;

export function hubLossPromises({ losses, before, after, podsOff }: HubLossSeen): PromiseResult[] {
  const alone = losses.filter(({ hubLives }) => hubLives);
  const looks = alone.flatMap((loss) => loss.looks);
  const fewest = alone.length === 0 ? 0 : Math.min(...alone.map((loss) => loss.looks.length));
  return [
    atMost(
      "H1",
      "after each return: until the hub held all that was acknowledged by then",
      losses.length === 0 ? notMeasured : Math.max(...losses.map(({ caughtUpMs }) => caughtUpMs)),
      hubCatchUpMs,
      "ms",
    ),
    atMost(
      "H2",
      "looks at a hub without its database in which its process was not alive (/livez)",
      looks.filter(({ live }) => live !== "200").length,
      0,
      "looks",
    ),
    atMost(
      "H3",
      `looks at a hub without its database for ${noticedMs / 1000} s that called itself ready (/readyz)`,
      looks.filter(({ atMs, ready }) => atMs >= noticedMs && ready !== "503").length,
      0,
      "looks",
    ),
    atLeast("H4", "looks in the loss with the fewest", fewest, looksMin, "looks"),
    atMost(
      "H5",
      "pods begun anew or gone because of the hub",
      podsChanged(before, after),
      0,
      "pods",
    ),
    atMost("R3", "pods too many or too few at the end", podsOff, 0, "pods"),
  ];
}
