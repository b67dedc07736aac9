/** Two nodes and a hub as an audit sees them: their files read by engines of their own, and what was asked. */
import { join } from "node:path";
import { createAuditEngine, type AuditEngine } from "../../src/data/audit/engine.ts";
import { runAudit, type AuditRequest } from "../../src/data/audit/audit.ts";
import type { AuditEvent, Compared } from "../../src/data/audit/report.ts";
import type { AuditSide } from "../../src/data/audit/sides.ts";
import type { EgressPolicy } from "../../src/api/index.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { createNarrowing } from "../../src/privacy/gate/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { openDatabase } from "../../src/runtime/sqlite/index.ts";

export const filesOf = (folder: string, node: string) => ({
  documentsPath: join(folder, `${node}.documents.db`),
  streamsPath: join(folder, `${node}.streams.db`),
});

export function openAudit(
  folder: string,
  node: string,
  options: { isHub?: boolean } = {},
): AuditEngine {
  const narrowing = options.isHub ? {} : { narrowing: createNarrowing() };
  return createAuditEngine({ clock: systemClock, ...narrowing }, filesOf(folder, node));
}

/** Behind the back of a store: what its disk lost, or has too much. */
export function meddle(path: string, sql: string, ...values: (string | number | Uint8Array)[]) {
  const db = openDatabase(path, { check: false });
  const { changes } = db.prepare(sql).run(...values);
  db.close();
  return Number(changes);
}

export type Audited = {
  readonly state: string;
  readonly compared: readonly Compared[];
  readonly events: readonly AuditEvent[];
};

/** `hub`: its side as the cell's link to it is, and by name what leaves. */
export async function auditing(
  sides: { own: AuditSide; others: Readonly<Record<string, AuditSide | undefined>> },
  options: {
    request?: AuditRequest;
    leaves?: Readonly<Record<string, { policy?: EgressPolicy }>>;
    clock?: Clock;
  } = {},
): Promise<Audited> {
  const events: AuditEvent[] = [];
  await runAudit(
    {
      own: { node: "n1", side: sides.own },
      partners: () => Object.entries(sides.others).map(([name, side]) => ({ name, side })),
      atHub: ({ name }) => options.leaves?.[name],
      clock: options.clock ?? systemClock,
    },
    options.request ?? {},
    { signal: new AbortController().signal, onEvent: (event) => void events.push(event) },
  );
  const last = events.at(-1);
  return {
    state: last?.event === "end" ? last.state : "",
    compared: events.flatMap((event) => (event.event === "compared" ? [event] : [])),
    events,
  };
}

/** As over a link, where the hub adds whose cell it is. */
export const asCell = (side: AuditSide, scope: string): AuditSide => ({
  ...side,
  names: () => side.names({ scope }),
  open: (wish) => side.open({ ...wish, scope }),
});
