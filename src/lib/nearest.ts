/** Names that somebody may have meant who wrote another one. */

/** Longer ones are no slip of the fingers, and comparing them costs. */
const nameLengthMax = 100;

/** At most `max` of `names` within a third of the length (at least 2) of edits, nearest first. */
export function nearestNames(name: string, names: readonly string[], max = 3): string[] {
  if (name.length > nameLengthMax) return [];
  const distanceMax = Math.max(2, Math.floor(name.length / 3));
  return names
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .filter(({ distance }) => distance <= distanceMax)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, max)
    .map(({ candidate }) => candidate);
}

/** Levenshtein (1965), one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, left] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, right] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (left === right ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
