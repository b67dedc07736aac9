/**
 * Acknowledged writes, counted at the end: every client creates keys of its own, each once with one
 * value. What was acknowledged must be there, as written and written once; what was refused must not.
 */

export type Creation = {
  readonly client: number;
  readonly key: string;
  readonly value: string;
  readonly outcome: "done" | "refused" | "unknown";
};

export type Stored = {
  readonly key: string;
  readonly value: string;
  /** Writes since it was created: more than one is a transaction that ran twice. */
  readonly version?: number;
};

export type WriteFinding = {
  readonly what: "lost" | "doubled" | "refused-but-stored" | "changed" | "never-written";
  readonly text: string;
};

export function checkWrites(
  created: readonly Creation[],
  stored: readonly Stored[],
): WriteFinding[] {
  const createdByKey = new Map(created.map((creation) => [creation.key, creation]));
  const storedByKey = new Map(stored.map((one) => [one.key, one]));
  const lost = created
    .filter(({ key, outcome }) => outcome === "done" && !storedByKey.has(key))
    .map(
      ({ client, key }) =>
        ({ what: "lost", text: `${key}, acknowledged to client ${client}` }) as const,
    );
  const wrong = stored.flatMap(({ key, value, version }): WriteFinding[] => {
    const creation = createdByKey.get(key);
    if (!creation) return [{ what: "never-written", text: `${key} = ${value}` }];
    const { client, outcome } = creation;
    return [
      ...(outcome === "refused"
        ? [{ what: "refused-but-stored", text: `${key}, refused to client ${client}` } as const]
        : []),
      ...(value === creation.value
        ? []
        : [{ what: "changed", text: `${key} = ${value}, written as ${creation.value}` } as const]),
      ...(version !== undefined && version > 1
        ? [{ what: "doubled", text: `${key}, written ${version} times` } as const]
        : []),
    ];
  });
  return [...lost, ...wrong];
}
