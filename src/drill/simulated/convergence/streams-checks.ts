/** What must hold of stores of entries: all the way, and once everything is healed. */
import type { DurabilityLevel, EntryInput, StoredEntry } from "../../../api/index.ts";
import { parseLane, type LocalStreamStore, type StreamDeclaration } from "../../../data/index.ts";
import type { Cell, Machine } from "./streams-cell.ts";
import type { Node } from "./streams-node.ts";
import { demand } from "./violation.ts";

export const streams: StreamDeclaration[] = [
  { name: "telemetry", retention: {}, egress: { keep: ["n", "site.id"] } },
  { name: "alarms", retention: {}, egress: { drop: ["secret"] }, priority: 5 },
  { name: "diary", retention: {} },
];

const keyText = ({ key }: EntryInput) =>
  key ? `${key.producer}/${key.epoch}/${key.sequence}` : "-";
/** Stream and key, or stream and body for entries without a key. */
export const identity = (entry: EntryInput) =>
  `${entry.stream} ${entry.key ? keyText(entry) : Buffer.from(entry.body).toString()}`;

type Page = Awaited<ReturnType<LocalStreamStore["read"]>>;

async function allPages(
  read: (after: string | undefined) => Promise<Pick<Page, "entries" | "cursor" | "more">>,
): Promise<StoredEntry[]> {
  const all: StoredEntry[] = [];
  for (let after: string | undefined; ;) {
    const page = await read(after);
    all.push(...page.entries);
    after = page.cursor;
    if (!page.more) return all;
  }
}

async function listAll(machine: Machine): Promise<StoredEntry[]> {
  if (!("replication" in machine)) {
    const { store } = machine;
    return await allPages((after) => store.read({ after }));
  }
  const { store } = machine;
  const lists = streams.map(({ name }) => allPages((after) => store.read({ stream: name, after })));
  return (await Promise.all(lists)).flat();
}

export type Lists = {
  /** Of a machine that goes down: what it listed then. */
  keep(machine: Machine): Promise<void>;
  of(machine: Machine): Promise<ReadonlySet<string>>;
};

/** What stores list; of a machine that is down, what it listed as it went down. */
export function createLists(): Lists {
  const kept = new Map<object, Promise<ReadonlySet<string>>>();
  const read = async (machine: Machine): Promise<ReadonlySet<string>> =>
    new Set((await listAll(machine)).map(identity));
  return {
    async keep(machine) {
      const list = read(machine);
      kept.set(machine.store, list);
      await list;
    },
    of: (machine) => kept.get(machine.store) ?? read(machine),
  };
}

/** D6: what an answer claims holds at that moment. */
export async function checkReached(
  { hub, others, lists }: { hub: Machine; others: readonly Node[]; lists: Lists },
  batch: readonly EntryInput[],
  reached: DurabilityLevel,
): Promise<void> {
  const wanted = batch.map(identity);
  if (reached.level === "peer") {
    const listed = await Promise.all(others.map((node) => lists.of(node)));
    const holding = listed.filter((list) => wanted.every((key) => list.has(key)));
    demand(
      "claimed",
      holding.length >= reached.peers,
      () => `peer(${reached.peers}) was claimed for ${wanted.join(", ")}`,
    );
  }
  if (reached.level === "hub") {
    const there = await lists.of(hub);
    for (const entry of batch)
      demand(
        "claimed",
        // Without a key it has no name that outlives the gate.
        !entry.key || there.has(identity(entry)),
        () => `the hub was claimed for ${identity(entry)}`,
      );
  }
}

/** D2: what a vector covers is listed, with everything before it in the same log. */
export async function checkCovered(one: Node, other: Machine): Promise<void> {
  const isHub = !("replication" in other);
  const vector = await (isHub ? other.store.vector("cell-a") : other.store.vector());
  const listed = new Set((await listAll(other)).map(identity));
  // To the hub, what has a priority goes apart from its log, and what has no key changes its name.
  const counts = (entry: StoredEntry) =>
    !isHub || (entry.stream === "telemetry" && entry.key !== undefined);
  for (const entry of await listAll(one)) {
    const { origin, sequence } = entry.position;
    demand(
      "cause",
      sequence > (vector[origin] ?? 0) || !counts(entry) || listed.has(identity(entry)),
      () => `${other.name} covers ${origin}/${sequence} and lists no ${identity(entry)}`,
    );
  }
}

/** Once all is settled: what was acknowledged is on every node, once, and everywhere the same. */
export async function checkStores(cell: Cell, acknowledged: ReadonlySet<string>): Promise<void> {
  const nodes = [...cell.nodes.values()];
  const lists = await Promise.all(nodes.map((node) => listAll(node)));
  checkPositions(nodes, lists);
  for (const [index, { name }] of nodes.entries()) {
    const listed = (lists[index] ?? []).map(identity);
    const own = new Set(listed);
    demand("twice", own.size === listed.length, () => `${name} lists an entry twice`);
    // What a crash left unanswered may be there as well; nothing acknowledged may be missing.
    const missing = [...acknowledged].filter((key) => !own.has(key));
    demand("lost", missing.length === 0, () => `lost on ${name}: ${missing.join(", ")}`);
  }
  const [whole = [], ...others] = lists;
  const shown = (entry: StoredEntry) => `${identity(entry)} ${Buffer.from(entry.body).toString()}`;
  const text = (entries: readonly StoredEntry[]) => entries.map(shown).sort().join("\n");
  for (const [index, list] of others.entries())
    demand(
      "differs",
      text(list) === text(whole),
      () => `${nodes[index + 1]?.name} lists other entries than ${nodes[0]?.name}`,
    );
  await checkHub(cell, whole);
}

/** D7: a position of a log is of one entry, whoever lists it. */
function checkPositions(nodes: readonly Node[], lists: readonly (readonly StoredEntry[])[]): void {
  const keyByPosition = new Map<string, string>();
  for (const [index, list] of lists.entries())
    for (const entry of list) {
      const at = `${entry.position.origin}/${entry.position.sequence}`;
      const key = keyByPosition.get(at) ?? identity(entry);
      demand(
        "twice",
        key === identity(entry),
        () => `${at} is ${key}, and on ${nodes[index]?.name} ${identity(entry)}`,
      );
      keyByPosition.set(at, key);
    }
}

/** What leaves is at the hub, as the gate lets it out, and nothing else. */
async function checkHub({ hub, hubMachine }: Cell, whole: readonly StoredEntry[]): Promise<void> {
  const shown = (entry: EntryInput, body: Uint8Array) =>
    `${entry.stream} ${entry.key ? keyText(entry) : ""} ${Buffer.from(body).toString()}`;
  const leaving = streams.filter(({ egress }) => egress).map(({ name }) => name);
  const atHub = (await listAll(hubMachine)).map((entry) => shown(entry, entry.body));
  const expected = whole
    .filter(({ stream }) => leaving.includes(stream))
    .map((entry) => shown(entry, naiveGate(entry)));
  demand("twice", atHub.length <= expected.length, () => "the hub has more than left the cell");
  demand(
    "differs",
    atHub.sort().join("\n") === expected.sort().join("\n"),
    () => "the hub has something else than left the cell",
  );
  const names = (await hub.streams()).map(({ name }) => name).sort();
  demand(
    "differs",
    names.every((name) => leaving.includes(name)),
    () => `the hub knows of ${names.join(", ")}`,
  );
}

/** What the two policies above let out, written out by hand. */
function naiveGate({ stream, body }: EntryInput): Uint8Array {
  const value = JSON.parse(Buffer.from(body).toString());
  if (stream === "alarms") delete value.secret;
  const kept =
    stream === "alarms"
      ? value
      : { n: value.n, ...(value.site ? { site: { id: value.site.id } } : {}) };
  return Buffer.from(JSON.stringify(kept));
}

/** Once nothing is under way any more. */
export async function isConverged(cell: Cell): Promise<boolean> {
  const hub = await cell.hub.vector("cell-a");
  const vectors = await Promise.all([...cell.nodes.values()].map(({ store }) => store.vector()));
  const text = (vector: Readonly<Record<string, number>>) =>
    JSON.stringify(
      Object.entries(vector)
        .filter(([name, top]) => top > 0 && !parseLane(name))
        .sort(),
    );
  const same = vectors.every((vector) => text(vector) === text(vectors[0] ?? {}));
  const lanes = await Promise.all([...cell.nodes.values()].map(({ store }) => store.lanes()));
  return (
    same &&
    lanes.every((tops) => Object.entries(tops).every(([name, top]) => (hub[name] ?? 0) >= top)) &&
    text(hub) === text(vectors[0] ?? {})
  );
}

export async function describe(cell: Cell): Promise<string> {
  const parts = await Promise.all(
    [...cell.nodes.values()].map(
      async ({ name, store }) => `${name} ${JSON.stringify(await store.vector())}`,
    ),
  );
  return [...parts, `hub ${JSON.stringify(await cell.hub.vector("cell-a"))}`].join("; ");
}
