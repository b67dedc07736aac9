/** Two scans of one collection or stream, compared: ranges first, then what stands in those that differ, now. */
import type { Clock } from "../../lib/clock.ts";
import {
  compareEntries,
  judgeDocument,
  runsOf,
  windowOf,
  type LackingEntry,
  type Only,
} from "./judge.ts";
import { reconcile } from "./reconcile.ts";
import { differencesMax, type AuditDifference, type Compared } from "./report.ts";
import {
  blockAt,
  blockKey,
  blockOf,
  blockPositions,
  type AuditLook,
  type AuditSide,
  type HeldLog,
  type KeyRange,
} from "./sides.ts";

export type Scanned = {
  /** As it is told. */
  readonly store: string;
  readonly side: AuditSide;
  readonly scan: string;
  readonly look: AuditLook & { readonly state: "scanned" };
};

export type Pair = { readonly here: Scanned; readonly there: Scanned };
type Outcome = Omit<Compared, "kind" | "name" | "with" | "items">;
type Options = { readonly signal: AbortSignal };

const leafDocuments = 64;
const leafBlocks = 16;
const documentsPerAsk = 8;
/** How long a document that one side has not caught up with is waited for. */
const settleMs = 10_000;
const settlePauseMs = 250;

const rangeSide = ({ side, scan }: Scanned) => ({
  prints: (ranges: readonly KeyRange[]) => side.prints({ scan, ranges }),
  split: (ranges: readonly KeyRange[], parts: number) => side.split({ scan, ranges, parts }),
});
const rangesThatDiffer = ({ here, there }: Pair, roots: readonly KeyRange[], leafKeys: number) =>
  reconcile({ mine: rangeSide(here), theirs: rangeSide(there) }, roots, {
    leafKeys,
    rangesMax: differencesMax,
  });

export async function compareDocuments(
  { clock }: { clock: Clock },
  pair: Pair,
  { signal }: Options,
): Promise<Outcome> {
  const { here, there } = pair;
  const { ranges, more } = await rangesThatDiffer(pair, [{ from: "" }], leafDocuments);
  const candidates: string[] = [];
  for (const range of ranges) {
    signal.throwIfAborted();
    const [mine, theirs] = await Promise.all([printsIn(here, range), printsIn(there, range)]);
    for (const id of new Set([...mine.keys(), ...theirs.keys()]))
      if (mine.get(id) !== theirs.get(id)) candidates.push(id);
  }
  const differences: AuditDifference[] = [];
  let moving = candidates.slice(0, differencesMax);
  for (const endMs = clock.monotonicMs() + settleMs; moving.length > 0;) {
    const left: string[] = [];
    for (let at = 0; at < moving.length; at += documentsPerAsk) {
      signal.throwIfAborted();
      const ids = moving.slice(at, at + documentsPerAsk);
      const [mine, theirs] = await Promise.all(
        [here, there].map(({ side, scan }) => side.documents({ scan, ids })),
      );
      for (const [index, id] of ids.entries()) {
        const [ours, others] = [mine, theirs].map((read) => {
          const { applied = {}, documents = [] } = read ?? {};
          return { applied, document: documents[index] ?? { id, origins: [] } };
        });
        if (!ours || !others) continue;
        const verdict = judgeDocument(ours, others);
        if (verdict.state === "moving") left.push(id);
        else if (verdict.state === "different")
          differences.push(
            verdict.only ? { id, only: pair[verdict.only].store } : { id, fields: verdict.fields },
          );
      }
    }
    moving = left;
    if (moving.length === 0 || clock.monotonicMs() >= endMs) break;
    await clock.sleep(settlePauseMs, { signal });
  }
  return {
    ...ending(differences, moving.length > 0 ? movingReason(moving) : undefined),
    more: more || candidates.length > differencesMax,
    upto: here.look.vector,
  };
}

const movingReason = (ids: readonly string[]) =>
  `moving: ${ids.length} documents have writes that one of the two has not heard of yet (${ids.slice(0, 3).join(", ")})`;

async function printsIn({ side, scan }: Scanned, range: KeyRange): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let after: string | undefined; ;) {
    const at = after === undefined ? {} : { after };
    const page = await side.documentPrints({ scan, range, ...at });
    for (const [id, print] of page.prints) found.set(id, print);
    after = page.prints.at(-1)?.[0];
    if (!page.more || after === undefined) return found;
  }
}

/** `isHub`: bodies there may have left by an earlier policy of the stream. */
export async function compareLogs(
  pair: Pair,
  { signal, isHub }: Options & { isHub: boolean },
): Promise<Outcome> {
  const { here, there } = pair;
  const roots: KeyRange[] = [];
  const blocks = new Set<string>();
  const positions: Record<string, readonly [number, number]> = {};
  let [newer, older] = [0, 0];
  for (const { origin, ...mine } of here.look.logs) {
    const theirs = logOf(there.look.logs, origin);
    newer += Math.abs(mine.top - theirs.top);
    const { from, to } = windowOf(mine, theirs);
    const first = Math.min(mine.first, theirs.first);
    older += Math.max(0, Math.min(from, to + 1) - first);
    if (from > to) continue;
    positions[origin] = [from, to];
    // Blocks that stand whole in it are compared by their sums, those at its ends by their entries.
    const whole = [
      from === blockOf(from) * blockPositions + 1 ? blockOf(from) : blockOf(from) + 1,
      to === (blockOf(to) + 1) * blockPositions ? blockOf(to) : blockOf(to) - 1,
    ] as const;
    if (whole[0] <= whole[1])
      roots.push({ from: blockKey(origin, whole[0]), to: blockKey(origin, whole[1] + 1) });
    for (const end of [blockOf(from), blockOf(to)])
      if (end < whole[0] || end > whole[1]) blocks.add(blockKey(origin, end));
  }
  for (const { origin, top } of there.look.logs)
    if (!here.look.logs.some((log) => log.origin === origin)) newer += top;
  const { ranges, more } = await rangesThatDiffer(pair, roots, leafBlocks);
  for (const range of ranges) {
    for (const { side, scan } of [here, there])
      for (const key of await side.keys({ scan, range })) blocks.add(key);
  }
  const found = { differences: [] as AuditDifference[], changed: 0 };
  for (const [origin, keys] of Map.groupBy(blocks, (key) => blockAt(key).origin)) {
    const differing: { position: number; only?: Only }[] = [];
    for (const key of keys) {
      signal.throwIfAborted();
      const { from } = blockAt(key);
      const block = await compareBlock(pair, { origin, from, to: from + blockPositions - 1 });
      differing.push(...block.lacking);
      if (isHub) found.changed += block.changed.length;
      else differing.push(...block.changed.map((position) => ({ position })));
      found.differences.push(...block.damaged);
    }
    found.differences.push(
      ...runsOf(origin, differing).map(({ only, ...run }) =>
        only ? { ...run, only: pair[only].store } : run,
      ),
    );
  }
  const reason =
    found.changed > 0
      ? `${found.changed} entries have other content at the hub: they left by an earlier egress of the stream, or are damaged there`
      : undefined;
  return { ...ending(found.differences, reason), more, positions, newer, older };
}

async function compareBlock(pair: Pair, at: { origin: string; from: number; to: number }) {
  const { here, there } = pair;
  const [mine, theirs] = await Promise.all([
    here.side.entries({ scan: here.scan, ...at }),
    there.side.entries({ scan: there.scan, ...at }),
  ]);
  const damaged = [
    { on: here.store, damaged: mine.damaged },
    { on: there.store, damaged: theirs.damaged },
  ].flatMap(({ on, damaged: words }) => (words === undefined ? [] : [{ on, damaged: words }]));
  if (damaged.length > 0) return { lacking: [], changed: [], damaged };
  const { lacking, changed } = compareEntries(mine, theirs);
  return { lacking: await notRemoved(pair, lacking), changed, damaged };
}

/** Without those that the other side's retention removed out of their turn, under another position. */
async function notRemoved(pair: Pair, lacking: readonly LackingEntry[]) {
  const kept: { position: number; only: Only }[] = [];
  for (const [only, found] of Map.groupBy(lacking, (item) => item.only)) {
    const { side, scan } = only === "here" ? pair.there : pair.here;
    const keys = found.flatMap(({ entry }) => (entry.key ? [entry.key] : []));
    const removed = keys.length > 0 ? await side.removed({ scan, keys }) : [];
    let at = 0;
    for (const { entry } of found) {
      const isRemoved = entry.key !== undefined && removed[at++] === true;
      if (!isRemoved) kept.push({ position: entry.position, only });
    }
  }
  return kept;
}

const logOf = (logs: readonly HeldLog[], origin: string): Omit<HeldLog, "origin"> =>
  logs.find((log) => log.origin === origin) ?? { first: 1, top: 0 };

function ending(
  differences: readonly AuditDifference[],
  reason: string | undefined,
): Pick<Outcome, "state" | "differences" | "reason"> {
  const state = differences.length > 0 ? "different" : reason === undefined ? "equal" : "undecided";
  return {
    state,
    differences: differences.slice(0, differencesMax),
    ...(reason === undefined ? {} : { reason }),
  };
}
