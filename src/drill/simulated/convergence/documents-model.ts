/**
 * What a document must look like, straight from the definitions and quadratic on purpose: it takes
 * all operations at once, with what each knew, and never merges anything.
 */
import { stable } from "../../../api/index.ts";
import {
  joinTexts,
  objectOf,
  plainText,
  textState,
  type Change,
  type Dot,
  type Json,
  type TextState,
} from "../../../data/inside/index.ts";

/** An operation on one document, with all that its writer knew. */
export type Made = Dot & {
  readonly hlc: number;
  readonly known: ReadonlyMap<string, number>;
  readonly verb: "edit" | "delete";
  readonly changes: readonly Change[];
};

type Event = { readonly made: Made; readonly index: number; readonly change: Change };

const knows = (a: Made, b: Made) =>
  a.origin === b.origin ? a.sequence > b.sequence : (a.known.get(b.origin) ?? 0) >= b.sequence;
const isAfter = (a: Event, b: Event) =>
  a.made === b.made ? a.index > b.index : knows(a.made, b.made);
const isAt = (path: string, above: string) =>
  above === "" || path === above || path.startsWith(`${above}/`);

/** A removal may clear a counter that does not stand where it removes. */
const isNamed = ({ made, change }: Event, { counts }: Change & { type: "set" | "remove" }) =>
  change.type === "count" && counts?.[change.path]?.[made.origin] !== undefined;

export type Model = {
  readonly body: Json | undefined;
  /** Paths with concurrent values that are not shown, and "" for deleted-and-edited. */
  readonly conflicts: readonly string[];
};

export function modelOf(history: readonly Made[]): Model {
  const events = history.flatMap((made) =>
    made.changes.map((change, index): Event => ({ made, index, change })),
  );
  const deletions = history.filter(({ verb }) => verb === "delete");
  const alive = history.some(
    (made) => made.verb === "edit" && !deletions.some((deletion) => knows(deletion, made)),
  );
  if (!alive) return { body: undefined, conflicts: [] };
  const conflicts: string[] = [];
  if (deletions.some((deletion) => !history.some((other) => knows(other, deletion))))
    conflicts.push("");

  const isCleared = (event: Event) =>
    events.some(
      (other) =>
        (other.change.type === "set" || other.change.type === "remove") &&
        (isAt(event.change.path, other.change.path) || isNamed(event, other.change)) &&
        isAfter(other, event),
    );
  const registersAt = (path: string) =>
    events
      .filter(
        (event) =>
          event.change.type === "set" &&
          event.change.path === path &&
          !isCleared(event) &&
          !events.some(
            (other) =>
              !["remove", "discard", "delete"].includes(other.change.type) &&
              isAt(other.change.path, path) &&
              isAfter(other, event),
          ),
      )
      .sort((a, b) => b.made.hlc - a.made.hlc || (a.made.origin < b.made.origin ? 1 : -1))
      .map(({ change }) => (change as Change & { type: "set" }).value);

  const membersAt = (path: string) => {
    const found = new Map<string, Json>();
    for (const event of events) {
      const { change } = event;
      if (change.type !== "add" || change.path !== path || isCleared(event)) continue;
      const isDiscarded = events.some(
        (other) =>
          other.change.type === "discard" &&
          other.change.path === path &&
          stable(other.change.value) === stable(change.value) &&
          isAfter(other, event),
      );
      if (!isDiscarded) found.set(stable(change.value), change.value);
    }
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
  };

  const countAt = (path: string) => {
    const left = events.filter(
      (event) => event.change.type === "count" && event.change.path === path && !isCleared(event),
    );
    if (left.length === 0) return undefined;
    return left.reduce((sum, { change }) => sum + (change as Change & { type: "count" }).by, 0);
  };

  const listAt = (path: string) => {
    type Node = {
      id: string;
      n: number;
      origin: string;
      after: string | null;
      value: Json;
      gone: boolean;
    };
    const nodes: Node[] = [];
    for (const event of events) {
      const { change, made } = event;
      if (change.type !== "insert" || change.path !== path) continue;
      let after = change.after;
      for (const [offset, value] of change.values.entries()) {
        const n = change.n + offset;
        const id = `${n}@${made.origin}`;
        const gone =
          isCleared(event) ||
          events.some(
            (other) =>
              other.change.type === "delete" &&
              other.change.path === path &&
              other.change.ids.includes(id),
          );
        nodes.push({ id, n, origin: made.origin, after, value, gone });
        after = id;
      }
    }
    const below = (parent: string | null): Json[] =>
      nodes
        .filter(({ after }) => after === parent)
        .sort((a, b) => b.n - a.n || (a.origin < b.origin ? 1 : -1))
        .flatMap(({ id, value, gone }) => [...(gone ? [] : [value]), ...below(id)]);
    return below(null);
  };

  /** What concurrent edits of a text make is for Yjs to say; here, in any order. */
  const textAt = (path: string) => {
    let state: TextState | undefined;
    for (const { change } of events)
      if (change.type === "text" && change.path === path)
        state = joinTexts(state, textState(change.update));
    return state && plainText(state);
  };

  const paths = [...new Set(events.map(({ change }) => change.path))];
  const showAt = (path: string): Json | undefined => {
    const names = new Set(
      paths
        .filter((other) => other !== path && isAt(other, path))
        .map((other) => other.slice(path.length + 1).split("/")[0] ?? ""),
    );
    const fields = [...names]
      .sort()
      .map((name): [string, Json | undefined] => [name, showAt(`${path}/${name}`)])
      .filter((field): field is [string, Json] => field[1] !== undefined);
    const registers = registersAt(path);
    const list = listAt(path);
    const members = membersAt(path);
    const text = textAt(path);
    const shown: Json | undefined =
      fields.length > 0
        ? objectOf(fields)
        : list.length > 0
          ? list
          : members.length > 0
            ? members
            : (countAt(path) ?? (text || registers[0]));
    const isPlain =
      fields.length + list.length + members.length === 0 && countAt(path) === undefined && !text;
    const empty = ["{}", "[]", ...(text === undefined ? [] : ['""'])];
    const isHidden = registers.some(
      (value) => stable(value) !== stable(shown) && (isPlain || !empty.includes(stable(value))),
    );
    const kinds = [list, members].filter((values) => values.length > 0) as Json[];
    const isKindHidden = [...kinds, countAt(path), text || undefined].some(
      (value) => value !== undefined && stable(value) !== stable(shown),
    );
    if (isHidden || isKindHidden) conflicts.push(path);
    return shown;
  };
  const body = showAt("") ?? {};
  return { body, conflicts };
}
