/**
 * `convergence`: round after round of simulated stores of documents and of streams (simulated/convergence),
 * each with a seed of its own, for as long as is asked; the first round is the drill's own seed.
 */
import { explain } from "../../lib/errors.ts";
import { atLeast, atMost, type Drill, type DrillOptions, type DrillReport } from "../drill.ts";
import { simulateDocuments } from "../simulated/convergence/documents.ts";
import { simulateShared } from "../simulated/convergence/shared-documents.ts";
import { simulateStreams } from "../simulated/convergence/streams.ts";
import {
  Violation,
  violationKinds,
  type ViolationKind,
} from "../simulated/convergence/violation.ts";

const progressMs = 10_000;
/** After so many there is nothing more to learn. */
const violationsMax = 20;

export const convergence: Drill = {
  name: "convergence",
  summary: "simulated stores of documents and streams: whatever happens, they end up equal",
  faults: [
    "messages lost, delayed, repeated, reordered, answered into the void",
    "links cut and healed",
    "power cut at any single write, of a hub as well",
    "clocks years off, and stepping",
    "stores that come new and stores that go for good",
    "a hub that writes too, documents that move between cells, filters and egress that change",
  ],
  needs: "nothing",
  defaultForMs: 60_000,
  run: (options) =>
    playRounds(options, {
      documents: simulateDocuments,
      "documents of hub and cells": simulateShared,
      streams: simulateStreams,
    }),
};

/** Each plays one round by its seed and gives how much was acknowledged. */
type Simulations = Readonly<Record<string, (seed: number) => Promise<number>>>;

type Found = {
  readonly atMs: number;
  /** `threw`: what the round played ended by an error of its own, which no promise allows either. */
  readonly kind: ViolationKind | "threw";
  readonly text: string;
};

export async function playRounds(
  { seed, forMs, clock, signal, progress }: DrillOptions,
  simulations: Simulations,
): Promise<DrillReport> {
  const startedMs = clock.monotonicMs();
  const elapsedMs = () => clock.monotonicMs() - startedMs;
  const found: Found[] = [];
  let rounds = 0;
  let acknowledged = 0;
  let toldMs = 0;
  const play = async (
    what: string,
    roundSeed: number,
    simulate: (seed: number) => Promise<number>,
  ) => {
    try {
      acknowledged += await simulate(roundSeed);
    } catch (error) {
      const kind = error instanceof Violation ? error.kind : "threw";
      const text = `${what}, seed ${roundSeed}: ${explain(error)}`;
      found.push({ atMs: elapsedMs(), kind, text });
      progress(`${text}; the same again: skerry drill convergence --seed ${roundSeed} --for 1s`);
    }
  };

  do {
    const roundSeed = seed + rounds;
    for (const [what, simulate] of Object.entries(simulations))
      await play(what, roundSeed, simulate);
    rounds++;
    signal.throwIfAborted();
    if (elapsedMs() - toldMs < progressMs) continue;
    toldMs = elapsedMs();
    progress(`${rounds} rounds, ${acknowledged} writes and entries acknowledged`);
  } while (elapsedMs() < forMs && found.length < violationsMax);

  const count = (kind: Found["kind"]) => found.filter((one) => one.kind === kind).length;
  const promises = [
    ...Object.entries(violationKinds).map(([kind, text], index) =>
      atMost(`C${index + 1}`, text, count(kind as ViolationKind), 0, "rounds"),
    ),
    atLeast("C8", "rounds of documents and of streams", rounds, 1, "rounds"),
    atMost("C9", "rounds that ended by an error", count("threw"), 0, "rounds"),
  ];
  return {
    drill: "convergence",
    ok: promises.every(({ ok }) => ok),
    seed,
    promises,
    load: { sent: 0, failed: 0, p50Ms: 0, p99Ms: 0, availability: 1 },
    data: { acknowledged, lost: count("lost"), duplicated: count("twice") },
    faults: found.map(({ atMs, text }) => ({ atMs: Math.round(atMs), fault: text })),
  };
}
