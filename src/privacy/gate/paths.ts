/**
 * Field paths of egress policies: names joined by dots, `\.` for a dot inside a name, `\\` for a
 * backslash. Arrays are gone through without a name of their own.
 */
import { SkerryError } from "../../lib/errors.ts";

export type Names = readonly string[];

/** Throws `invalid-egress` naming the path. */
export function parsePath(path: string): Names {
  const names: string[] = [];
  let name = "";
  for (let i = 0; i < path.length; i++) {
    const letter = path[i] ?? "";
    if (letter === "\\") {
      const next = path[++i];
      if (next !== "." && next !== "\\")
        throw invalid(path, "a backslash stands only before a dot or another backslash");
      name += next;
    } else if (letter === ".") {
      names.push(name);
      name = "";
    } else name += letter;
  }
  names.push(name);
  if (names.includes("")) throw invalid(path, "a name between the dots is empty");
  return names;
}

function invalid(path: string, problem: string): SkerryError {
  return new SkerryError({
    code: "invalid-egress",
    message: `egress: "${path}": ${problem}`,
    hint: "write field names joined by dots, such as motor.rpm; for a dot inside a name write \\.",
  });
}
