/**
 * How Node runs an agent on a small machine. What it saves is measured by `bench footprint`, its price by
 * `bench streams`.
 */

/**
 * The young generation of each of the three isolates, in MiB a half, at most: it grows with what survives,
 * and shrinks when little is allocated (see `runtime/heap`). With 2 every entry of a flood costs 60 % more
 * processor time; Node's own 16 save no more, and hold 30 MB of garbage where work comes and goes.
 */
const semiSpaceMb = 8;

/**
 * The old generation of each isolate, in MiB, is collected for the first time at this size, and then
 * whenever it has grown by this share. Left to itself V8 waits until some 50 MB for the first time and
 * several times what is alive later: a node under load would gain 2 to 7 MB a minute for hours.
 */
const oldSpaceMb = 16;
const growingPercent = 30;

/**
 * Threads that help to collect and compile, for all isolates. Node's own four wake each other for a young
 * generation that one of them has collected by then.
 */
const helpers = 2;

/**
 * undici parses HTTP in WebAssembly. To compile that anew with TurboFan takes 25 MB for a moment, of which
 * malloc keeps up to 4, and an idle node has used up Node's own 13 million within a minute. This many are
 * used up by some 15,000 answers: soon where an ingress has work, and hardly ever elsewhere.
 */
const wasmTieringBudget = 1_000_000_000;

export const agentNodeArgs: readonly string[] = [
  // For `runtime/heap`.
  "--expose-gc",
  `--v8-pool-size=${helpers}`,
  `--wasm-tiering-budget=${wasmTieringBudget}`,
  `--max-semi-space-size=${semiSpaceMb}`,
  `--initial-old-space-size=${oldSpaceMb}`,
  `--heap-growing-percent=${growingPercent}`,
];
