/** What must hold of stores of documents: all the way, and once everything is healed. */
import { stable } from "../../../api/index.ts";
import { silentLog } from "../../../lib/log.ts";
import {
  createEngine,
  createHybridClock,
  readOperation,
  readSnapshot,
  show,
  snapshotAt,
  takeSnapshot,
  type Engine,
  type JsonObject,
} from "../../../data/inside/index.ts";
import type { SimulatedCell, SimulatedNode } from "./documents-cell.ts";
import { createMemoryTables, type Archive } from "./documents-memory.ts";
import { modelOf, type Made } from "./documents-model.ts";
import { demand } from "./violation.ts";

export const ids = ["a", "b", "c"] as const;
const allIds = [...ids, "tally", "left", "right"];

export type Acknowledged = {
  readonly origin: string;
  readonly sequence: number;
  readonly text: string;
};
/** What the writes of the tally must come to, and what those without an answer may add. */
export type Tally = { acked: number; unknown: number; ackedTags: string[] };

export type Marks = Readonly<
  Record<string, { readonly n: number; readonly saw: Readonly<Record<string, number>> }>
>;

const bodyAt = ({ documents }: Engine, id: string): JsonObject =>
  documents.shown("items", id).body ?? {};

/** What everybody's last batch over `left` and `right` says of the batches that its writer saw. */
export const marksAt = (engine: Engine, id: string): Marks =>
  (bodyAt(engine, id)["by"] ?? {}) as Marks;

export function checkCauses(node: SimulatedNode): void {
  if (node.up) checkMarks(node.name, node.store.engine);
}

export function checkMarks(place: string, engine: Engine): void {
  const marks = marksAt(engine, "left");
  demand(
    "cause",
    stable(marksAt(engine, "right")) === stable(marks),
    () => `${place} shows half a batch`,
  );
  for (const [name, { saw }] of Object.entries(marks))
    for (const [other, n] of Object.entries(saw))
      demand(
        "cause",
        (marks[other]?.n ?? 0) >= n,
        () => `${place} shows ${name}'s mark without its cause by ${other}`,
      );
}

export function isSettled({ nodes }: SimulatedCell): boolean {
  const vectors = new Set(nodes.map(({ store }) => stable(store.engine.vector())));
  return vectors.size === 1 && nodes.every(({ store }) => store.engine.waiting === 0);
}

/** All equal, to each other, to the model, and to themselves made again from the log. */
export function checkStores({ nodes, archive }: SimulatedCell): void {
  const shownAt = (node: SimulatedNode, id: string) => {
    const { documents } = node.store.engine;
    const { body, conflicts } = documents.shown("items", id);
    const version = documents.version("items", id);
    return { text: stable({ body, version, conflicts }), body, conflicts };
  };
  const [first] = nodes;
  if (!first) throw new Error("a cell without nodes");
  for (const id of allIds) {
    const expected = modelOf(historyOf(archive, id));
    const shown = shownAt(first, id);
    demand(
      "differs",
      stable(shown.body) === stable(expected.body),
      () => `${id} differs from the model`,
    );
    demand(
      "differs",
      stable(shown.conflicts.map(({ path }) => path).sort()) ===
        stable([...expected.conflicts].sort()),
      () => `${id}'s conflicts differ from the model's`,
    );
    for (const node of nodes) {
      demand(
        "differs",
        shownAt(node, id).text === shown.text,
        () => `${id} at ${node.name} differs`,
      );
      const row = node.tables.documents.get(`items/${id}`);
      const state = row && node.store.engine.documents.read(row);
      demand(
        "differs",
        !state || stable(show(state)) === stable({ body: shown.body, conflicts: shown.conflicts }),
        () => `${id}'s row at ${node.name} differs`,
      );
    }
  }
  const texts = ({ documents }: Engine) =>
    allIds.map((id) => stable([documents.shown("items", id), documents.version("items", id)]));
  const { engine } = first.store;
  const before = texts(engine);
  const filled = fillFrom(first);
  demand(
    "differs",
    stable(texts(filled)) === stable(before) && stable(filled.vector()) === stable(engine.vector()),
    () => "filled from a snapshot it differs",
  );
  if (Object.keys(engine.floors()).length > 0) return;
  engine.rebuild();
  demand("differs", stable(texts(engine)) === stable(before), () => "made again it differs");
}

/** A store that was never there before, with all that this one has. */
function fillFrom({ store, tables }: SimulatedNode): Engine {
  const clock = createHybridClock({ clock: { wallMs: () => 0 as never } });
  const target = createMemoryTables();
  const engine = createEngine(
    { tables: target, clock, log: silentLog },
    { origin: "new.1", node: "new" },
  );
  for (;;) {
    const after = snapshotAt(target);
    const piece = readSnapshot({ engine: store.engine, tables }, "view", { after, bytesMax: 200 });
    if (takeSnapshot({ engine, tables: target }, piece).state !== "staged") return engine;
  }
}

function historyOf(archive: Archive, id: string): Made[] {
  const history: Made[] = [];
  for (const [origin, log] of archive) {
    const known = new Map<string, number>();
    for (const { sequence, text } of log) {
      const { hlc, seen, writes } = readOperation(text);
      for (const [other, upto] of Object.entries(seen)) known.set(other, upto);
      const mine = writes.filter((write) => write.id === id);
      const verb = mine.at(-1)?.verb;
      // Deleted and written in one batch: what came last holds; the changes before count all the same.
      if (!verb) continue;
      history.push({
        origin,
        sequence,
        hlc,
        known: new Map(known),
        verb,
        changes: mine.flatMap(({ changes }) => changes),
      });
    }
  }
  return history;
}

export function checkAcknowledged(
  { nodes, archive }: SimulatedCell,
  acknowledged: readonly Acknowledged[],
  tally: Tally,
): void {
  for (const node of nodes) {
    const applied = node.store.engine.applied();
    for (const { origin, sequence, text } of acknowledged)
      demand(
        "lost",
        (applied[origin] ?? 0) >= sequence && archive.get(origin)?.[sequence - 1]?.text === text,
        () => `${node.name} lost an acknowledged write`,
      );
    const tallied = bodyAt(node.store.engine, "tally");
    const count = Number(tallied["stock"] ?? 0);
    demand("lost", count >= tally.acked, () => `acknowledged were ${tally.acked}, not ${count}`);
    demand(
      "twice",
      count <= tally.acked + tally.unknown,
      () => `at most ${tally.acked + tally.unknown} were written, not ${count}`,
    );
    for (const field of ["tags", "steps"]) {
      const list = (tallied[field] ?? []) as readonly string[];
      const lacking = tally.ackedTags.filter((tag) => !list.includes(tag));
      demand("lost", lacking.length === 0, () => `acknowledged, and gone: ${lacking.join()}`);
      demand("twice", new Set(list).size === list.length, () => `there twice: ${list.join()}`);
    }
  }
}
