/** JSON values and the few ways in which patches look at them. */

export type JsonObject = { readonly [field: string]: unknown };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A patch that cannot be applied. `field` is where in the object, as a path or a JSON pointer. */
export type PatchOutcome<T = unknown> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly field: string; readonly message: string };

/**
 * Thrown inside a patch algorithm and turned into a `PatchOutcome` at its door, so that recursion
 * need not carry failures upward by hand.
 */
export class PatchProblem extends Error {
  readonly field: string;

  constructor(field: string, message: string) {
    super(message);
    this.name = "PatchProblem";
    this.field = field;
  }
}

export function outcomeOf<T>(work: () => T): PatchOutcome<T> {
  try {
    return { ok: true, value: work() };
  } catch (error) {
    if (error instanceof PatchProblem)
      return { ok: false, field: error.field, message: error.message };
    throw error;
  }
}
