/** What to say to who named something that is not declared. */
import { nearestNames } from "../lib/nearest.ts";

const shownMax = 5;

/** `kind` as it is declared: `Stream`, `Collection`. */
export function hintForUnknown(kind: string, name: string, known: Iterable<string>): string {
  const names = [...known];
  const close = nearestNames(name, names);
  if (close.length > 0) return `did you mean ${close.join(" or ")}?`;
  if (names.length === 0)
    return `no ${kind.toLowerCase()} is declared yet: apply a ${kind} object first`;
  return `declared are ${names.slice(0, shownMax).join(", ")}${names.length > shownMax ? ", …" : ""}; a new one needs a ${kind} object`;
}
