/** The status screens, pure: for a tired person first, for scripts (tabs) second. */
import type { CellStatus, FleetStatus, NodeReport, NodeVerdict } from "../api/index.ts";
import { formatBytes, formatDuration } from "../lib/duration.ts";
import { renderTable } from "./output.ts";

export type RenderOptions = { readonly tabs: boolean; readonly colors: boolean };

export function renderCellStatus(status: CellStatus, options: RenderOptions): string {
  const reports = status.nodes.flatMap((node) => (node.report ? [node.report] : []));
  const sections = [
    heading(`cell ${status.cell}, seen from ${status.seenFrom}`, options),
    ...status.words.map((words) => `  ${words}`),
    ...promiseLines(status),
    "",
    table(
      ["NODE", "ROLE", "STATE", "PODS", "HUB", "WAITING FOR HUB", "MEMORY", "ADDRESS"],
      status.nodes.map(({ name, role, address, verdict, report }) => [
        name,
        role,
        verdictWords(verdict),
        report ? `${report.pods.filter((pod) => pod.ready).length}/${report.pods.length}` : "?",
        report ? hubWords(report) : "?",
        report ? backlogWords(report.hub.backlog) : "?",
        report ? formatBytes(report.memoryBytes) : "?",
        address,
      ]),
      options,
    ),
  ];
  if (status.workloads.length > 0) {
    const rows = status.workloads.map(({ kind, namespace, name, ready, desired }) => [
      `${kind} ${namespace}/${name}`,
      `${ready} of ${desired} ready`,
    ]);
    sections.push("", table(["WORKLOAD", "PODS"], rows, options));
  }
  if (status.pods.length > 0) {
    const rows = status.pods.map((pod) => [
      `${pod.namespace}/${pod.name}`,
      pod.node,
      pod.ready ? "ready" : `${pod.phase}${pod.reason === undefined ? "" : `: ${pod.reason}`}`,
      `${pod.restarts}`,
    ]);
    sections.push("", table(["POD", "NODE", "STATE", "RESTARTS"], rows, options));
  }
  const streams = streamRows(reports);
  if (streams.length > 0) sections.push("", table(["STREAM", "ENTRIES", "SIZE"], streams, options));
  return sections.join("\n");
}

/** Where all is well nobody needs to read on. */
function promiseLines({ promises, nodes }: CellStatus): string[] {
  const isWell =
    nodes.every(({ verdict }) => verdict.state === "alive") &&
    nodes.every(({ report }) => report === undefined || report.rung === "whole");
  if (isWell) return [];
  return [
    "  promised now:",
    ...promises.kept.map((text) => `    + ${text}`),
    ...(promises.suspended.length > 0 ? ["  not promised now:"] : []),
    ...promises.suspended.map((text) => `    - ${text}`),
  ];
}

export function renderFleetStatus(status: FleetStatus, options: RenderOptions): string {
  const rows = status.cells.map((cell) => [
    cell.cell,
    cell.state,
    cell.lastContactMs === undefined ? "never" : `${formatDuration(cell.lastContactMs)} ago`,
    cell.nodesConnected.join(",") || "-",
    backlogWords(cell.backlog),
    `${cell.streams.reduce((sum, stream) => sum + stream.entries, 0)}`,
    cell.rung ?? "?",
  ]);
  const words = status.cells.flatMap((cell) => cell.words.map((text) => `  ${cell.cell}: ${text}`));
  return [
    heading(
      `hub ${status.hub}, ${status.cells.length} cell${status.cells.length === 1 ? "" : "s"}`,
      options,
    ),
    ...words,
    "",
    table(
      [
        "CELL",
        "STATE",
        "LAST CONTACT",
        "NODES LINKED",
        "WAITING THERE",
        "ENTRIES HERE",
        "CONDITION",
      ],
      rows,
      options,
    ),
  ].join("\n");
}

/** Every store holds the same streams sooner or later; the fullest one is what the cell has. */
function streamRows(reports: readonly NodeReport[]): string[][] {
  const fullestByName = new Map<string, { entries: number; bytes: number }>();
  for (const { name, entries, bytes } of reports.flatMap((report) => report.streams)) {
    const known = fullestByName.get(name);
    if (!known || entries > known.entries) fullestByName.set(name, { entries, bytes });
  }
  return [...fullestByName]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, { entries, bytes }]) => [name, `${entries}`, formatBytes(bytes)]);
}

function verdictWords(verdict: NodeVerdict): string {
  switch (verdict.state) {
    case "alive":
      return "alive";
    case "agent-down":
      return `agent down for ${formatDuration(verdict.forMs)}, pods alive`;
    case "unreachable":
      return `unreachable for ${formatDuration(verdict.forMs)}${verdict.witnesses.length > 0 ? `, also to ${verdict.witnesses.join(", ")}` : ""}`;
    case "link-down":
      return `no link for ${formatDuration(verdict.forMs)}, but ${verdict.heardBy.join(", ")} hears it`;
    case "unknown":
      return "not heard yet";
  }
}

function hubWords({ hub }: NodeReport): string {
  if (hub.state === "none") return "none";
  const ago = hub.lastContactMs === undefined ? "" : ` for ${formatDuration(hub.lastContactMs)}`;
  return hub.state === "lost" ? `lost${ago}` : "connected";
}

function backlogWords({
  entries,
  bytes,
  oldestMs,
}: {
  entries: number;
  bytes: number;
  oldestMs: number;
}): string {
  return entries === 0
    ? "nothing"
    : `${entries} entries, ${formatBytes(bytes)}, oldest ${formatDuration(oldestMs)}`;
}

const heading = (text: string, { colors }: RenderOptions) =>
  colors ? `\u001b[1m${text}\u001b[0m` : text;

const table = (
  header: readonly string[],
  rows: readonly (readonly string[])[],
  { tabs }: RenderOptions,
) => renderTable(header, rows, { tabs });
