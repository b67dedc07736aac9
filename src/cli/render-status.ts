/** The status screens, pure: for a tired person first, for scripts (tabs) second. */
import {
  hubName,
  tellVerdict,
  type CellStatus,
  type FleetStatus,
  type NodeReport,
  type ReachMark,
  type ReachRow,
} from "../api/index.ts";
import { formatBytes, formatDuration } from "../lib/duration.ts";
import { renderTable } from "./output.ts";

export type RenderOptions = { readonly tabs: boolean; readonly colors: boolean };

export function renderCellStatus(status: CellStatus, options: RenderOptions): string {
  const reports = status.nodes.flatMap((node) => (node.report ? [node.report] : []));
  const sections = [
    heading(`cell ${status.cell}, seen from ${status.seenFrom}`, options),
    ...status.words.map((words) => `  ${words}`),
    ...promiseLines(status),
    ...backupLines(status, reports),
    ...hubFailureLines(reports),
    "",
    table(
      ["NODE", "ROLE", "STATE", "PODS", "HUB", "WAITING FOR HUB", "MEMORY", "ADDRESS"],
      status.nodes.map(({ name, role, address, verdict, report }) => [
        name,
        role,
        // Nothing is concluded yet, and yet it is worth a look.
        verdict.state === "alive" && !report ? "alive, does not answer" : tellVerdict(verdict),
        report ? `${report.pods.filter((pod) => pod.ready).length}/${report.pods.length}` : "?",
        report ? hubWords(report) : "?",
        report ? backlogWords(report.hub.backlog) : "?",
        report ? formatBytes(report.memoryBytes) : "?",
        address,
      ]),
      options,
    ),
  ];
  if (status.ledger) {
    const rows = status.ledger.members.map(({ name, role, state, answeredAgoMs }) => [
      name,
      role,
      state,
      answeredAgoMs === undefined ? "never" : ago(answeredAgoMs),
    ]);
    const header = ["LEDGER MEMBER", "ROLE", "STATE", `ANSWERED ${status.ledger.seenFrom}`];
    sections.push("", table(header, rows, options));
  }
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

/** A stale one stands among the words already; without a quorum none is about to be made. */
function backupLines({ ledger }: CellStatus, reports: readonly NodeReport[]): string[] {
  const [newest] = reports
    .flatMap(({ backup }) => backup ?? [])
    .filter(({ state }) => state !== "stale" && !(state === "waiting" && ledger?.quorum === "lost"))
    .toSorted((a, b) => (a.ageMs ?? Infinity) - (b.ageMs ?? Infinity));
  return newest ? [`  ${newest.words}`] : [];
}

/**
 * Fresh enough to be no silence: a beat comes four times a second, a link's ping every second. The hub is
 * told once a second, and what it heard of others comes with its answer: older by both.
 */
const freshMs = 1500;
const isFresh = ({ path, agoMs }: ReachMark) => agoMs < (path === "hub" ? 3 * freshMs : freshMs);

/** Who heard whom: rows hear, columns are heard. */
export function renderMatrix(status: CellStatus, options: RenderOptions): string {
  const { reach } = status;
  const rowByNode = new Map(reach.rows.map((row) => [row.to, row]));
  const hearers = reach.names.filter((name) => rowByNode.has(name) || isNode(status, name));
  const rows = hearers.map((to) => [
    hearerWords(to, rowByNode.get(to)),
    ...reach.names.map((from) => cellWords(status, { from, to, row: rowByNode.get(to) })),
  ]);
  return [
    heading(
      `cell ${status.cell}, seen from ${reach.seenFrom}: who heard whom, how, and when`,
      options,
    ),
    ...status.words.map((words) => `  ${words}`),
    "",
    table(["HEARD BY \\ FROM", ...reach.names.map(plainName)], rows, options),
    "",
    "  beat, link: from the node itself; relayed: a peer heard it; ledger: its member answered; hub: by its own way to the hub.",
    "  `N ago` in a row with an age: as it was when that node last told; `?`: it did not tell.",
  ].join("\n");
}

const isNode = ({ nodes }: CellStatus, name: string) => nodes.some((node) => node.name === name);
const plainName = (name: string) => (name === hubName ? "hub" : name);
const ago = (ms: number) => (ms < 10_000 ? `${(ms / 1000).toFixed(1)}s` : formatDuration(ms));

const isOld = (row: ReachRow) => row.toldAgoMs >= 3 * freshMs;

function hearerWords(to: string, row: ReachRow | undefined): string {
  return row && isOld(row) ? `${plainName(to)}, ${ago(row.toldAgoMs)} ago` : plainName(to);
}

/** `0.2s beat+link`, `0.4s relayed by n3`, `silent 12s`, `never`, `?` */
function cellWords(
  status: CellStatus,
  { from, to, row }: { from: string; to: string; row: ReachRow | undefined },
): string {
  if (from === to) return "-";
  if (!row || (row.knownBy !== "self" && !isNode(status, from))) return "?";
  const marks = row.heard.filter((mark) => mark.from === from);
  // An old word tells when it was heard last, and not that it is silent since.
  if (isOld(row)) return marks.length === 0 ? "?" : `${ago(youngest(marks))} ago`;
  const fresh = marks.filter(isFresh);
  const own = fresh.filter(({ path }) => path !== "relayed");
  if (own.length > 0) return `${ago(youngest(own))} ${own.map(({ path }) => path).join("+")}`;
  const [relayed] = fresh;
  if (relayed) return `${ago(relayed.agoMs)} relayed by ${relayed.by ?? "?"}`;
  return marks.length === 0 ? "never" : `silent ${ago(youngest(marks))}`;
}

const youngest = (marks: readonly ReachMark[]) => Math.min(...marks.map(({ agoMs }) => agoMs));

/** Where all is well nobody needs to read on. */
function promiseLines({ promises, nodes, reach, ledger }: CellStatus): string[] {
  const isWell =
    reach.deaf.length === 0 &&
    (ledger?.members ?? []).every(({ state }) => state !== "silent") &&
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
    ...(status.store?.engine === "postgres"
      ? [
          `  streams are in PostgreSQL at ${status.store.place}; links are those of this hub process`,
        ]
      : []),
    ...keyFailureLines(status),
    ...(status.refused ?? []).map(
      ({ count, why, hint, agoMs }) =>
        `  ${count} connection${count === 1 ? "" : "s"} refused, the last ${ago(agoMs)} ago: ${why}\n    ${hint}`,
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

function keyFailureLines({ keyFailure }: FleetStatus): string[] {
  if (!keyFailure) return [];
  const { why, hint, forMs } = keyFailure;
  return [
    `  no cell can enrol or renew for ${formatDuration(forMs)}, links go on: ${why}`,
    ...(hint === undefined ? [] : [`    ${hint}`]),
  ];
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

function hubWords({ hub }: NodeReport): string {
  if (hub.state === "none") return "none";
  const ago = hub.lastContactMs === undefined ? "" : ` for ${formatDuration(hub.lastContactMs)}`;
  return hub.state === "lost" ? `lost${ago}` : "connected";
}

/** A way that is broken is so for all nodes: each failure once. */
function hubFailureLines(reports: readonly NodeReport[]): string[] {
  const nodesByFailure = new Map<string, string[]>();
  for (const { node, hub } of reports) {
    if (!hub.failure) continue;
    const { message, hint } = hub.failure;
    const text = hint === undefined ? message : `${message}\n    ${hint}`;
    nodesByFailure.set(text, [...(nodesByFailure.get(text) ?? []), node]);
  }
  return [...nodesByFailure].map(
    ([text, nodes]) => `  no link to the hub (${nodes.join(", ")}): ${text}`,
  );
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
