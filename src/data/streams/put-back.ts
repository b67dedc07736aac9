/**
 * Whether a store went back while it ran (a machine put back with its memory), found by what others tell
 * of its own log (D7). Who tells of more than there is, is believed when it shows what stands there; and
 * what both have alike, from the beginning on, stays as it is: two pasts of one store are the same up to
 * the moment that it was put back to. Pure.
 */
import type { Vector } from "./answers.ts";

/** What stands at `from` in this log there? Up to `same` it is what stands here, at `other` it is not. */
export type Ask = {
  readonly origin: string;
  readonly from: number;
  readonly same: number;
  /** Absent until it has shown that it has more, or something else. */
  readonly other?: number;
  /** It tells of no more than there is; asked since it is met anew. */
  readonly isMeeting?: boolean;
};

export type Proof =
  /** Nothing yet: it is met anew, and may have been told another past before this one. */
  | { readonly state: "met" }
  /** The answer to a question: a piece of the log, empty where it has nothing. */
  | { readonly state: "shown"; readonly ask: Ask; readonly piece: Uint8Array }
  /** Its log is forgotten that far; it gives documents. */
  | { readonly state: "forgotten" }
  /** The hub gives no log back. What it ever told of before, it got from here. */
  | { readonly state: "told"; readonly same: number };

export type Observed = {
  readonly origin: string;
  readonly rotated: boolean;
  /**
   * Every log that was given up since the opening, whoever it was that had more of it: what others tell of
   * these is not this store's. Absent: none.
   */
  readonly disputed?: readonly string[];
  /** For the next call, with the answer. */
  readonly ask?: Ask;
};

/** `givenUp`: since the opening. One that the store is on again, for the transaction failed, is none. */
export function observed(
  origin: string,
  givenUp: ReadonlySet<string>,
  found: Pick<Observed, "rotated" | "ask">,
): Observed {
  const disputed = [...givenUp].filter((name) => name !== origin);
  return { origin, ...found, ...(disputed.length > 0 ? { disputed } : {}) };
}

type OwnLog = {
  readonly name: string;
  readonly top: number;
  /** Forgotten here up to there. */
  readonly floor: number;
};

export type Compared = "nothing" | "same" | "other";

export type Verdict =
  | { readonly state: "fine" }
  | { readonly state: "ask"; readonly ask: Ask }
  /** What stands behind `same` is here alone. */
  | { readonly state: "put-back"; readonly same: number };

/** `compare`: what an answer has at the position of its question, beside what stands there here. */
export function judge(
  { name, top, floor }: OwnLog,
  told: Vector,
  proof: Proof | undefined,
  compare: (ask: Ask, piece: Uint8Array) => Compared,
): Verdict {
  if (proof?.state === "shown") {
    const { ask, piece } = proof;
    if (ask.origin !== name) return { state: "fine" };
    return weigh(ask, piece.length === 0 ? "nothing" : compare(ask, piece));
  }
  const theirTop = told[name] ?? 0;
  if (theirTop <= top) {
    if (proof?.state !== "met" || theirTop <= floor) return { state: "fine" };
    return { state: "ask", ask: { origin: name, from: theirTop, same: floor, isMeeting: true } };
  }
  if (!proof || proof.state === "met")
    return { state: "ask", ask: { origin: name, from: top + 1, same: floor } };
  const same = proof.state === "told" ? Math.min(proof.same, top) : floor;
  return { state: "put-back", same: Math.max(same, floor) };
}

function weigh(ask: Ask, found: Compared): Verdict {
  const { from, origin } = ask;
  if (ask.other === undefined && found === "nothing") return { state: "fine" };
  if (ask.isMeeting && found === "same") return { state: "fine" };
  // What is removed on one side is old: it was removed before, or by who had it from here.
  const isOther = ask.other === undefined || found === "other";
  const other = isOther ? from : (ask.other ?? from);
  const same = isOther ? ask.same : from;
  if (other - same <= 1) return { state: "put-back", same };
  return {
    state: "ask",
    ask: { origin, same, other, from: same + Math.floor((other - same) / 2) },
  };
}
