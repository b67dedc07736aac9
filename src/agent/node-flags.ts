/**
 * How Node runs an agent on a small machine. What it saves is measured by `bench footprint`, its price by
 * `bench streams`.
 */

/**
 * The young generation of each of the three isolates, in MiB a half. Node's own 16 fill up before
 * anything is collected, on an idle node too: 30 MB of garbage. With 1 every entry of a flood costs a
 * third more processor time, with 4 an idle node holds 12 MB more.
 */
const semiSpaceMb = 2;

export const agentNodeArgs: readonly string[] = [`--max-semi-space-size=${semiSpaceMb}`];

/**
 * glibc gives each of a dozen threads an arena and returns little of it: two are enough where one
 * thread allocates most, and what is free at the end of the heap goes back from 128 KiB on.
 */
export const agentMemoryEnvironment: Readonly<Record<string, string>> = {
  MALLOC_ARENA_MAX: "2",
  MALLOC_TRIM_THRESHOLD_: String(128 * 1024),
};
