/**
 * Who asks: a verified SPIFFE identity, already split. Structurally what `transport` calls a peer, so
 * that roots can hand one on as it is.
 */
export type Subject = {
  /** `spiffe://cell-a.skerry/user/admin` */
  readonly id: string;
  /** Path of the id split: `["user", "admin"]`. */
  readonly path: readonly string[];
};

/** The name behind a two-part identity such as `node/n1`; undefined for any other shape. */
export function nameOf(subject: Subject, role: "node" | "user"): string | undefined {
  const [first, name, ...rest] = subject.path;
  return first === role && name !== undefined && name !== "" && rest.length === 0
    ? name
    : undefined;
}
