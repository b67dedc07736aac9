/** Paths of fields as JSON pointers (RFC 6901): `/address/city`; "" is the whole document. */

export const join = (parent: string, name: string): string =>
  `${parent}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;

export const namesOf = (pointer: string): string[] =>
  pointer
    .split("/")
    .slice(1)
    .map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));

export const isPointer = (value: unknown): value is string =>
  typeof value === "string" && (value === "" || value.startsWith("/")) && !/~(?![01])/.test(value);

/** True for the path itself as well. */
export const isWithin = (path: string, ancestor: string): boolean =>
  ancestor === "" || path === ancestor || path.startsWith(`${ancestor}/`);

/** Of `/a/b/c`: `/a` and `/a/b`. */
export function ancestorsOf(path: string): string[] {
  const ancestors: string[] = [];
  for (let end = path.indexOf("/", 1); end > 0; end = path.indexOf("/", end + 1))
    ancestors.push(path.slice(0, end));
  return ancestors;
}
