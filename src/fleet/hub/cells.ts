/**
 * What the hub knows of its cells' health: what their nodes tell with every heartbeat, and when. A
 * cell is silent when none of its nodes was heard for a while; its own words then count as old.
 */
import {
  ladderRungs,
  type BacklogStatus,
  type FleetStatus,
  type LadderRung,
  type NodeReport,
  type StreamStatusLine,
} from "../../api/index.ts";
import type { MonotonicMs } from "../../lib/brand.ts";
import type { Clock } from "../../lib/clock.ts";
import { formatDuration } from "../../lib/duration.ts";
import { SkerryError } from "../../lib/errors.ts";

export type EnrolledCell = { readonly cell: string; readonly enrolledAt: string };

export interface CellBook {
  /** A heartbeat of `node`. Throws `invalid-report` naming the field. */
  heard(cell: string, node: string, body: Uint8Array): void;
  /**
   * Milliseconds since the hub heard each other node of the cell by that node's own link: a way that
   * does not share the wire between the two. Nodes it never heard, or not for a day, are absent.
   */
  agesOfOthers(cell: string, node: string): Readonly<Record<string, number>>;
  status(
    hub: string,
    cells: readonly EnrolledCell[],
    streams: readonly (StreamStatusLine & { cell: string })[],
  ): FleetStatus;
}

/** Heartbeats come every second. */
const silentMs = 5000;
/** Nodes not heard for this long are forgotten. */
const forgetMs = 24 * 3_600_000;
const nodesMax = 200;

type Heard = { readonly report: NodeReport; readonly atMs: MonotonicMs };
type Cell = FleetStatus["cells"][number];

export function createCellBook(deps: { clock: Clock }): CellBook {
  const { clock } = deps;
  const nodesByCell = new Map<string, Map<string, Heard>>();

  return {
    heard(cell, node, body) {
      const report = parseReport(body, node);
      const nodes = nodesByCell.get(cell) ?? new Map<string, Heard>();
      nodesByCell.set(cell, nodes);
      const nowMs = clock.monotonicMs();
      nodes.set(node, { report, atMs: nowMs });
      for (const [name, { atMs }] of nodes)
        if (nowMs - atMs > forgetMs || nodes.size > nodesMax) nodes.delete(name);
    },
    agesOfOthers(cell, node) {
      const nowMs = clock.monotonicMs();
      const ages: Record<string, number> = {};
      for (const [name, { atMs }] of nodesByCell.get(cell) ?? [])
        if (name !== node) ages[name] = Math.round(nowMs - atMs);
      return ages;
    },
    status(hub, cells, streams) {
      const nowMs = clock.monotonicMs();
      return {
        hub,
        cells: cells.map((enrolled) =>
          describe(
            enrolled,
            [...(nodesByCell.get(enrolled.cell) ?? new Map<string, Heard>()).values()],
            streams.filter(({ cell }) => cell === enrolled.cell),
            nowMs,
          ),
        ),
      };
    },
  };
}

function describe(
  enrolled: EnrolledCell,
  heard: readonly Heard[],
  streams: readonly StreamStatusLine[],
  nowMs: number,
): Cell {
  const fresh = heard.filter(({ atMs }) => nowMs - atMs <= silentMs);
  const lastContactMs =
    heard.length === 0 ? undefined : nowMs - Math.max(...heard.map(({ atMs }) => atMs));
  const state = lastContactMs === undefined ? "never" : fresh.length > 0 ? "connected" : "silent";
  const rung = worstOf(fresh.map(({ report }) => report.rung));
  return {
    ...enrolled,
    state,
    ...(lastContactMs === undefined ? {} : { lastContactMs }),
    nodesConnected: fresh.map(({ report }) => report.node).sort(),
    ...(rung === undefined ? {} : { rung }),
    words: wordsFor(state, lastContactMs, fresh),
    backlog: sum(heard.map(({ report }) => report.hub.backlog)),
    streams: streams.map(({ name, entries, bytes }) => ({ name, entries, bytes })),
  };
}

function worstOf(told: readonly LadderRung[]): LadderRung | undefined {
  return ladderRungs.findLast((rung) => told.includes(rung));
}

function wordsFor(
  state: Cell["state"],
  lastContactMs: number | undefined,
  fresh: readonly Heard[],
): string[] {
  if (state === "never")
    return ["enrolled, but none of its nodes has been heard since this hub started"];
  if (state === "silent")
    return [
      `not heard for ${formatDuration(lastContactMs ?? 0)}: the link or the whole site is down; by itself the cell goes on`,
    ];
  const troubled = fresh.filter(
    ({ report }) => report.rung !== "whole" && report.rung !== "hub-lost",
  );
  return troubled.length === 0
    ? ["all is well"]
    : troubled.map(({ report }) => `${report.node} says: ${report.rung}`);
}

function sum(backlogs: readonly BacklogStatus[]): BacklogStatus {
  return {
    entries: backlogs.reduce((total, { entries }) => total + entries, 0),
    bytes: backlogs.reduce((total, { bytes }) => total + bytes, 0),
    oldestMs: Math.max(0, ...backlogs.map(({ oldestMs }) => oldestMs)),
  };
}

/** A node of an enrolled cell is believed about itself, but what it sends has a shape. */
function parseReport(body: Uint8Array, node: string): NodeReport {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(body));
  } catch (cause) {
    throw new SkerryError({ code: "invalid-report", message: "the heartbeat is not JSON", cause });
  }
  const report = value as Partial<NodeReport> | null;
  const wrong =
    typeof report !== "object" || report === null
      ? "report"
      : report.node !== node
        ? "node"
        : !ladderRungs.some((rung) => rung === report.rung)
          ? "rung"
          : ![
                report.hub?.backlog?.entries,
                report.hub?.backlog?.bytes,
                report.hub?.backlog?.oldestMs,
              ].every(Number.isFinite)
            ? "hub.backlog"
            : undefined;
  if (wrong !== undefined)
    throw new SkerryError({
      code: "invalid-report",
      message: `${wrong}: missing, or not what a node sends`,
    });
  return report as NodeReport;
}
