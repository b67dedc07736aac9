/**
 * JSON Patch (RFC 6902) over JSON Pointer (RFC 6901). All or nothing: the target is never changed,
 * a failed operation leaves no trace.
 */
import { sameValue } from "../../api/index.ts";
import { isObject, outcomeOf, PatchProblem, type PatchOutcome } from "./values.ts";

/** As many as Kubernetes takes. */
const operationsMax = 10_000;

export function applyJsonPatch(target: unknown, operations: readonly unknown[]): PatchOutcome {
  return outcomeOf(() => {
    if (operations.length > operationsMax) {
      throw new PatchProblem(
        "",
        `${operations.length} operations are too many, at most ${operationsMax} are allowed`,
      );
    }
    let value = structuredClone(target);
    for (const [index, operation] of operations.entries())
      value = applyOne(value, operation, index);
    return value;
  });
}

function applyOne(document: unknown, operation: unknown, index: number): unknown {
  if (!isObject(operation)) throw new PatchProblem(`[${index}]`, "an operation must be an object");
  const path = pointer(operation["path"], `[${index}].path`);
  const field = `[${index}] ${String(operation["path"])}`;
  const given = () => {
    if (!("value" in operation)) throw new PatchProblem(`[${index}].value`, "is required");
    return structuredClone(operation["value"]);
  };
  switch (operation["op"]) {
    case "add":
      return add(document, path, given(), field);
    case "remove":
      return remove(document, path, field).document;
    case "replace":
      if (path.length === 0) return given();
      return add(remove(document, path, field).document, path, given(), field);
    case "move": {
      const from = pointer(operation["from"], `[${index}].from`);
      if (from.length < path.length && from.every((part, at) => part === path[at]))
        throw new PatchProblem(field, "cannot move a value into itself");
      const taken = remove(document, from, field);
      return add(taken.document, path, taken.value, field);
    }
    case "copy": {
      const from = pointer(operation["from"], `[${index}].from`);
      return add(document, path, structuredClone(read(document, from, field)), field);
    }
    case "test":
      if (!sameValue(read(document, path, field), given()))
        throw new PatchProblem(field, "the test failed: the value is another one");
      return document;
    default:
      throw new PatchProblem(
        `[${index}].op`,
        `${JSON.stringify(operation["op"]) ?? "nothing"} is not one of add, remove, replace, move, copy, test`,
      );
  }
}

function pointer(text: unknown, field: string): string[] {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/")))
    throw new PatchProblem(
      field,
      `${JSON.stringify(text) ?? "nothing"} must be "" or start with "/"`,
    );
  if (/~(?![01])/.test(text))
    throw new PatchProblem(field, `${JSON.stringify(text)}: "~" must be written as ~0, "/" as ~1`);
  return text
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

type Container = { [field: string]: unknown } | unknown[];

function read(document: unknown, path: readonly string[], field: string): unknown {
  return path.reduce<unknown>((value, part) => {
    if (Array.isArray(value)) return value[indexIn(value, part, value.length - 1, field)];
    if (isObject(value) && Object.hasOwn(value, part)) return value[part];
    throw new PatchProblem(field, `there is no "${part}"`);
  }, document);
}

function containerOf(document: unknown, path: readonly string[], field: string): Container {
  const parent = read(document, path.slice(0, -1), field);
  if (Array.isArray(parent)) return parent;
  if (isObject(parent)) return parent as { [field: string]: unknown };
  throw new PatchProblem(field, "its parent is neither an object nor a list");
}

function add(document: unknown, path: readonly string[], value: unknown, field: string): unknown {
  const last = path.at(-1);
  if (last === undefined) return value;
  const container = containerOf(document, path, field);
  if (Array.isArray(container)) {
    const at = last === "-" ? container.length : indexIn(container, last, container.length, field);
    container.splice(at, 0, value);
  } else {
    // Not an assignment: "__proto__" must become a field like any other.
    Object.defineProperty(container, last, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return document;
}

function remove(
  document: unknown,
  path: readonly string[],
  field: string,
): { document: unknown; value: unknown } {
  const last = path.at(-1);
  if (last === undefined) return { document: null, value: document };
  const container = containerOf(document, path, field);
  const value = read(document, path, field);
  if (Array.isArray(container))
    container.splice(indexIn(container, last, container.length - 1, field), 1);
  else delete container[last];
  return { document, value };
}

function indexIn(list: readonly unknown[], part: string, max: number, field: string): number {
  if (!/^(0|[1-9]\d*)$/.test(part) || Number(part) > max)
    throw new PatchProblem(field, `"${part}" is not a place in a list of ${list.length}`);
  return Number(part);
}
