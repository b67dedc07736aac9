/**
 * For a process that runs for months: glibc gives each of a dozen threads an arena and returns little of
 * it. Two are enough where one thread allocates most, and what is free at the end of the heap goes back
 * from 128 KiB on (mallopt(3)).
 */
export const mallocEnvironment: Readonly<Record<string, string>> = {
  MALLOC_ARENA_MAX: "2",
  MALLOC_TRIM_THRESHOLD_: String(128 * 1024),
};
