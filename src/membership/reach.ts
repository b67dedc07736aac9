/**
 * The matrix: who heard whom, by which path, and when, as one observer knows it; and which directions
 * between living nodes are deaf. Pure.
 */
import {
  hubName,
  type DeafLink,
  type ReachMark,
  type ReachPath,
  type ReachRecord,
  type ReachRow,
} from "../api/index.ts";
import type { MonotonicMs } from "../lib/brand.ts";
import type { Evidence } from "./evidence.ts";
import { verdictDefaults, type VerdictOptions } from "./verdict.ts";

type ReachOptions = Pick<VerdictOptions, "silenceMs">;

export function reachOf(
  evidence: Evidence,
  nowMs: MonotonicMs,
  options: ReachOptions,
): ReachRecord {
  const { self, nodes, hub, witnesses } = evidence;
  const mark = (from: string, path: ReachPath, atMs: MonotonicMs | undefined): ReachMark[] =>
    atMs === undefined ? [] : [{ from, path, agoMs: Math.max(0, Math.round(nowMs - atMs)) }];

  const own: ReachMark[] = [...nodes].flatMap(([from, { own: heard, ledgerMs, heardByPeer }]) => {
    const [by, relayedMs] = [...heardByPeer].reduce<readonly [string, MonotonicMs] | readonly []>(
      (best, one) => (best[1] === undefined || one[1] > best[1] ? one : best),
      [],
    );
    return [
      ...mark(from, "beat", heard?.beatMs),
      ...mark(from, "link", heard?.linkMs),
      ...mark(from, "relayed", relayedMs).map((one) => ({ ...one, ...(by && { by }) })),
      ...mark(from, "ledger", ledgerMs),
    ];
  });
  const ofWitnesses = [...witnesses].flatMap(([name, atMs]) => mark(name, "ledger", atMs));
  const rows: ReachRow[] = [
    {
      to: self,
      knownBy: "self",
      toldAgoMs: 0,
      heard: [...own, ...mark(hubName, "hub", hub?.contactMs), ...ofWitnesses],
    },
  ];
  for (const [to, { own: heard }] of nodes) {
    if (heard?.beatMs === undefined) continue;
    const marks = [...nodes].flatMap(([from, { heardByPeer }]) =>
      mark(from, "beat", heardByPeer.get(to)),
    );
    rows.push({
      to,
      knownBy: "beats",
      toldAgoMs: Math.round(nowMs - heard.beatMs),
      heard: [...mark(self, "beat", evidence.selfHeardByPeer.get(to)), ...marks],
    });
  }
  if (hub) {
    // Its answer to this node says that it heard this node.
    const heard = [...hub.heardByHub, [self, hub.contactMs] as const].flatMap(([from, atMs]) =>
      mark(from, "hub", atMs),
    );
    const toldAgoMs = Math.round(nowMs - hub.contactMs);
    rows.push({ to: hubName, knownBy: "hub", toldAgoMs, heard });
  }
  const names = [
    ...[self, ...nodes.keys()].sort((a, b) => a.localeCompare(b)),
    ...(hub ? [hubName] : []),
    ...[...witnesses.keys()].sort((a, b) => a.localeCompare(b)),
  ];
  return { seenFrom: self, names, rows, deaf: deafLinks(self, rows, options) };
}

/** With the rows that peers told themselves, which know more than their beats: they replace those. */
export function withRows(
  record: ReachRecord,
  told: readonly ReachRow[],
  options: ReachOptions = verdictDefaults,
): ReachRecord {
  const rows = [
    ...record.rows.filter(({ to }) => !told.some((row) => row.to === to)),
    ...told.filter(({ to }) => to !== record.seenFrom && record.names.includes(to)),
  ];
  return { ...record, rows, deaf: deafLinks(record.seenFrom, rows, options) };
}

/** Paths on which the two ends of a link hear each other without help. */
const isDirect = ({ path }: ReachMark) => path === "beat" || path === "link";

function deafLinks(
  self: string,
  rows: readonly ReachRow[],
  { silenceMs }: ReachOptions,
): DeafLink[] {
  const nodeRows = rows.filter(({ to }) => to !== hubName);
  const isUp = (name: string) =>
    name === self ||
    rows.some(({ heard }) =>
      heard.some(
        ({ from, agoMs, path }) => from === name && agoMs < silenceMs && path !== "relayed",
      ),
    );
  const agoMs = (row: ReachRow, from: string): number | undefined => {
    const marks = row.heard.filter((mark) => mark.from === from && isDirect(mark));
    return marks.length === 0 ? undefined : Math.min(...marks.map((mark) => mark.agoMs));
  };
  // A keeper beats without an agent that listens: then it hears nobody, and that is no link's fault.
  const listens = (row: ReachRow | undefined) =>
    row !== undefined &&
    row.toldAgoMs < silenceMs &&
    (row.to === self || row.heard.some((mark) => mark.agoMs < silenceMs));
  const rowByNode = new Map(nodeRows.map((row) => [row.to, row]));
  const hears = (to: string, from: string) => {
    const row = rowByNode.get(to);
    if (!row || !listens(row)) return "unknown" as const;
    return (agoMs(row, from) ?? Infinity) < silenceMs ? ("heard" as const) : ("deaf" as const);
  };
  const names = [...rowByNode.keys()];
  return names.flatMap((to) =>
    names
      .filter((from) => from !== to && isUp(from) && hears(to, from) === "deaf")
      .map((from) => {
        const row = rowByNode.get(to);
        return { from, to, forMs: row && agoMs(row, from), back: hears(from, to) };
      }),
  );
}
