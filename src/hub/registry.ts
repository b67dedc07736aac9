/** Which cells are enrolled, and under which key: one small record, replaced as a whole. */
import { join } from "node:path";
import type { EnrolledCell } from "../fleet/index.ts";
import type { TrustDomainRegistry } from "../identity/index.ts";
import { readRecord, writeRecord } from "../runtime/files/index.ts";

export type CellRegistry = TrustDomainRegistry & {
  /** Called once a cell's token was spent and its certificate signed. */
  enrolled(cell: { name: string; trustDomain: string }): void | Promise<void>;
  cells(): readonly (EnrolledCell & { readonly trustDomain: string })[];
  /** The cell's name; undefined when no such cell is enrolled. */
  cellOf(trustDomain: string): string | undefined;
};

type Stored = Record<
  string,
  { readonly pin: string; readonly cell?: string; readonly enrolledAt?: string }
>;

const cellsPath = (dataDir: string) => join(dataDir, "cells.json");

/** As it stands in the file, claims that were never followed by an enrolment included. */
export const readEnrolled = (
  dataDir: string,
): readonly { trustDomain: string; pin: string; cell?: string; enrolledAt?: string }[] =>
  Object.entries((readRecord(cellsPath(dataDir)) ?? {}) as Stored).map(([trustDomain, stored]) => ({
    trustDomain,
    ...stored,
  }));

/** Throws `file-torn` when the record is damaged. */
export function openCellRegistry(
  dataDir: string,
  deps: { nowMs: () => number; onChange: () => void },
): CellRegistry {
  const path = cellsPath(dataDir);
  let stored = (readRecord(path) ?? {}) as Stored;
  const replace = (next: Stored) => {
    writeRecord(path, next);
    stored = next;
    deps.onChange();
  };
  return {
    // One process, no await between the look and the write: atomic.
    async claim(trustDomain, keyPin) {
      const known = stored[trustDomain];
      if (known) return known.pin;
      replace({ ...stored, [trustDomain]: { pin: keyPin } });
      return keyPin;
    },
    async find(trustDomain) {
      return stored[trustDomain]?.pin;
    },
    enrolled({ name, trustDomain }) {
      const known = stored[trustDomain];
      if (!known || known.cell !== undefined) return;
      replace({
        ...stored,
        [trustDomain]: { ...known, cell: name, enrolledAt: new Date(deps.nowMs()).toISOString() },
      });
    },
    cells: () =>
      Object.entries(stored).flatMap(([trustDomain, { cell, enrolledAt }]) =>
        cell === undefined ? [] : [{ trustDomain, cell, enrolledAt: enrolledAt ?? "" }],
      ),
    cellOf: (trustDomain) => stored[trustDomain]?.cell,
  };
}
