/**
 * Which cells are enrolled, and under which key, in the hub's ledger: one for all its processes. What
 * links ask for at every handshake is a copy in memory, which a watch keeps.
 */
import type { EnrolledCell } from "../fleet/index.ts";
import type { TrustDomainRegistry } from "../identity/index.ts";
import type { KeyValue, Ledger, LedgerEvent, Revision } from "../ledger/index.ts";
import { createBackoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { cellKey, cellsPrefix, parseCell, putCell, trustDomainOf } from "./fleet-records.ts";

export type CellRegistry = TrustDomainRegistry & {
  /** Called once a cell's token was spent and its certificate signed. */
  enrolled(cell: { name: string; trustDomain: string }): Promise<void>;
  /** Oldest first. */
  cells(): readonly Enrolled[];
  /** The cell's name; undefined when no such cell is enrolled. */
  cellOf(trustDomain: string): string | undefined;
};

type Enrolled = EnrolledCell & { readonly trustDomain: string };
type Known = { readonly modRevision: Revision; readonly enrolled: Enrolled };

/** `onChange`: other cells are enrolled than before. Throws what reading the ledger throws. */
export async function openCellRegistry(
  deps: { ledger: Ledger; clock: Clock; random: Random; log: Log },
  { onChange }: { onChange: () => void },
): Promise<CellRegistry & AsyncDisposable> {
  const { ledger, clock, log } = deps;
  const stop = new AbortController();
  let known = new Map<string, Known>();

  const listed = async (): Promise<Revision> => {
    const { items, revision } = await ledger.list(cellsPrefix);
    known = new Map(items.flatMap(entryOf));
    return revision;
  };

  const take = (events: readonly LedgerEvent[]) => {
    let changed = false;
    for (const event of events) {
      if (event.type === "delete") {
        changed = known.delete(trustDomainOf(event.key)) || changed;
        continue;
      }
      for (const [trustDomain, one] of entryOf(event.keyValue)) {
        changed ||= known.get(trustDomain)?.modRevision !== one.modRevision;
        known.set(trustDomain, one);
      }
    }
    if (changed) onChange();
  };

  const follow = async (first: Revision) => {
    const backoff = createBackoff(deps, { initialMs: 100, maxMs: 5_000 });
    let after: Revision | undefined = first;
    while (!stop.signal.aborted) {
      try {
        if (after === undefined) {
          const before = known;
          after = await listed();
          if (!haveSame(before, known)) onChange();
        }
        for await (const { events } of ledger.watch(cellsPrefix, { after, signal: stop.signal })) {
          backoff.reset();
          if (events.length > 0) take(events);
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        log.warn("the enrolled cells are read again", { error });
      }
      after = undefined;
      await clock.sleep(backoff.nextMs(), { signal: stop.signal }).catch(() => {});
    }
  };

  const following = follow(await listed());
  return {
    async claim(trustDomain, keyPin) {
      const key = cellKey(trustDomain);
      for (;;) {
        const outcome = await ledger.transact(
          [{ key, modRevision: 0 }],
          [putCell(trustDomain, { pin: keyPin })],
        );
        if (outcome.state === "done") return keyPin;
        const standing =
          outcome.state === "refused" ? outcome.current[0] : (await ledger.get(key)).keyValue;
        if (standing) return parseCell(standing).pin;
      }
    },
    async find(trustDomain) {
      const { keyValue } = await ledger.get(cellKey(trustDomain));
      return keyValue && parseCell(keyValue).pin;
    },
    async enrolled({ name, trustDomain }) {
      const key = cellKey(trustDomain);
      for (;;) {
        const { keyValue } = await ledger.get(key);
        if (!keyValue) return;
        const record = parseCell(keyValue);
        // What stands is taken at once: the cell links as soon as it has its answer.
        if (record.cell !== undefined) return take([{ type: "put", keyValue }]);
        const enrolledAt = new Date(clock.wallMs()).toISOString();
        // Refused or unknown: what stands there then decides.
        await ledger.transact(
          [{ key, modRevision: keyValue.modRevision }],
          [putCell(trustDomain, { ...record, cell: name, enrolledAt })],
        );
      }
    },
    cells: () =>
      [...known.values()]
        .map(({ enrolled }) => enrolled)
        .sort((a, b) => order(a.enrolledAt, b.enrolledAt) || order(a.cell, b.cell)),
    cellOf: (trustDomain) => known.get(trustDomain)?.enrolled.cell,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await following;
    },
  };
}

/** None for a claim that no enrolment followed. */
function entryOf(keyValue: KeyValue): [string, Known][] {
  const { cell, enrolledAt = "" } = parseCell(keyValue);
  if (cell === undefined) return [];
  const trustDomain = trustDomainOf(keyValue.key);
  const { modRevision } = keyValue;
  return [[trustDomain, { modRevision, enrolled: { trustDomain, cell, enrolledAt } }]];
}

const haveSame = (a: ReadonlyMap<string, Known>, b: ReadonlyMap<string, Known>) =>
  a.size === b.size &&
  [...b].every(([domain, { modRevision }]) => a.get(domain)?.modRevision === modRevision);

const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
