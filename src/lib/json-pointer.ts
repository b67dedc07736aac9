/** Paths of fields as JSON pointers (RFC 6901): `/address/city`; "" is the whole document. */

export const join = (parent: string, name: string): string => `${parent}/${escaped(name)}`;

/** Most names have nothing to escape, and paths are made for every field of every write. */
const escaped = (name: string): string =>
  name.includes("~") || name.includes("/")
    ? name.replaceAll("~", "~0").replaceAll("/", "~1")
    : name;

export function namesOf(pointer: string): string[] {
  const names = pointer.split("/");
  names.shift();
  return pointer.includes("~")
    ? names.map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"))
    : names;
}

/** A field of the document itself, of a name in which nothing is escaped: `/` and the name. */
export const isPlain = (pointer: string): boolean =>
  pointer !== "" && !pointer.includes("/", 1) && !pointer.includes("~");

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
