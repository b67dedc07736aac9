/** What a simulation found broken: the checkers say it by this error and by no other. */

export const violationKinds = {
  unsettled: "stores that are not equal 200 s after everything was healed",
  differs: "stores that differ, from each other or from the model",
  lost: "acknowledged writes and entries that are missing somewhere",
  twice: "writes and entries that are there twice",
  cause:
    "documents shown without what their writer had seen, half a batch, or entries that are covered and not shown",
  leaked: "documents in cells that they are not for",
  claimed: "acknowledgements of a level that was not reached",
} as const;
export type ViolationKind = keyof typeof violationKinds;

export class Violation extends Error {
  readonly kind: ViolationKind;
  constructor(kind: ViolationKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

export function demand(kind: ViolationKind, holds: boolean, what: () => string): void {
  if (!holds) throw new Violation(kind, what());
}
