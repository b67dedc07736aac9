/** The witness's door: what a machine runs that is a member of the ledger and nothing else. */
export { createChildHost } from "./child-host.ts";
export { heirOf, readFigures, type WitnessFigures } from "./figures.ts";
export { runWitness, witnessClientHost, witnessFigures, type WitnessOptions } from "./run.ts";
