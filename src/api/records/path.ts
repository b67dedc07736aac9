/**
 * How people and programs name a field of a document or an entry: `id` is the document's id,
 * `/address/city` a JSON pointer (RFC 6901), `address.city` short for it. Names that are digits count
 * the elements of an array.
 */
import type { Json } from "../../lib/json.ts";

/** Names from the outside in; empty: the id. */
export type Path = readonly string[];

const idPath: Path = [];

/** Undefined when it is no path: the whole document is none. */
export function parsePath(text: string): Path | undefined {
  if (text === "id") return idPath;
  if (text.startsWith("/")) {
    if (/~(?![01])/.test(text)) return undefined;
    const names = text.slice(1).split("/");
    return names.map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  }
  const names = text.split(".");
  return names.every((name) => dotted.test(name)) ? names : undefined;
}

/** A name that may stand in a path with dots. */
const dotted = /^[\p{L}\p{N}_][\p{L}\p{N}_-]*$/u;

export const pointerOf = (path: Path): string =>
  path.length === 0
    ? "id"
    : path.map((name) => `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

/** The value there; undefined when there is none. */
export function valueAtPath(
  { id, body }: { id: string; body: Json },
  path: Path,
): Json | undefined {
  if (path.length === 0) return id;
  let value: Json | undefined = body;
  for (const name of path) {
    if (typeof value !== "object" || value === null) return undefined;
    if (Array.isArray(value)) {
      value = /^(0|[1-9]\d{0,8})$/.test(name) ? (value[Number(name)] as Json) : undefined;
    } else {
      value = Object.hasOwn(value, name) ? (value as { [name: string]: Json })[name] : undefined;
    }
  }
  return value;
}
