/**
 * Two to five stores and a hub under random cuts, crashes, losses, repetitions and reorderings of
 * messages, with resends to other nodes, stores that come new and stores that go for good: after the
 * heal every store lists exactly what was acknowledged, once, and the hub what the gate lets out of it.
 * Every acknowledgement is checked when it is given.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DurabilityLevel, EntryInput, StoredEntry } from "../../../api/index.ts";
import {
  parseLane,
  type GlobalStore,
  type ReadQuery,
  type StreamDeclaration,
  type StreamStore,
} from "../../../data/index.ts";
import { createSimulatedClock } from "../../../lib/clock-simulated.ts";
import { seededRandom } from "../../../lib/random.ts";
import { noFaults } from "./links.ts";
import { createCell, type Cell, type Node } from "./streams-cell.ts";
import { demand } from "./violation.ts";

const streams: StreamDeclaration[] = [
  { name: "telemetry", retention: {}, egress: { keep: ["n", "site.id"] } },
  { name: "alarms", retention: {}, egress: { drop: ["secret"] }, priority: 5 },
  { name: "diary", retention: {} },
];
const steps = 250;
const storesMax = 5;
const settleMs = 200_000;

const keyText = ({ key }: EntryInput) =>
  key ? `${key.producer}/${key.epoch}/${key.sequence}` : "-";
/** Stream and key, or stream and body for entries without a key. */
const identity = (entry: EntryInput) =>
  `${entry.stream} ${entry.key ? keyText(entry) : Buffer.from(entry.body).toString()}`;

/** Gives how many entries were acknowledged. Throws `Violation`. */
export async function simulateStreams(seed: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "skerry-convergence-"));
  try {
    return await simulate(seed, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function simulate(seed: number, folder: string): Promise<number> {
  const random = seededRandom(seed);
  const clock = createSimulatedClock();
  const chance = (share: number) => random.float() < share;
  const pick = <T>(items: readonly T[]): T => items[random.integer(items.length)] as T;
  const lists = createLists();
  const cell = await createCell(
    { clock, random },
    {
      folder,
      names: ["n1", "n2", "n3"],
      streams,
      batchBytesMax: 300,
      // Every second seed with most entries sealed a moment after they came.
      ...(seed % 2 === 0 ? { sealing: { entriesMax: 5, tailEntries: 3, periodMs: 20 } } : {}),
      faults: { lost: 0.03, unanswered: 0.03, doubled: 0.05, delayMsMax: 60 },
      onDown: lists.keep,
    },
  );
  cell.connectAll();
  await clock.advance(100);

  const acknowledged = new Set<string>();
  const sent: EntryInput[] = [];
  const sequences = new Map<string, number>();
  const appends: Promise<void>[] = [];
  const failures: unknown[] = [];
  let unkeyed = 0;
  let named = 3;

  const fresh = (): EntryInput => {
    const stream = pick(streams).name;
    const n = random.integer(1000);
    if (chance(0.1)) {
      unkeyed++;
      return { stream, body: Buffer.from(JSON.stringify({ n: unkeyed, unkeyed: true })) };
    }
    const producer = `p${random.integer(4)}`;
    const epoch = 1 + random.integer(2);
    const counter = `${stream} ${producer} ${epoch}`;
    const sequence = (sequences.get(counter) ?? 0) + 1;
    sequences.set(counter, sequence);
    const body = { n, secret: "s3cret", site: { id: n, owner: "someone" } };
    return {
      stream,
      key: { producer, epoch, sequence },
      body: Buffer.from(JSON.stringify(body)),
    };
  };
  const append = async (name: string, batch: readonly EntryInput[], level: DurabilityLevel) => {
    const node = cell.nodes.get(name);
    if (!node?.up) return;
    const departedBefore = cell.departed.length;
    const outcome = await node.durability
      .append(batch, { level, timeoutMs: 3000 })
      .catch((error) => {
        // A crash of the node while it appends: nothing was acknowledged.
        if (error.code === "closed") return undefined;
        throw error;
      });
    if (!outcome || outcome.state === "refused") return;
    for (const entry of batch) acknowledged.add(identity(entry));
    // Who had it then may be gone by now, for a while or for good; not who was gone for good before.
    const gone = cell.departed.slice(departedBefore);
    const others = [...cell.nodes.values(), ...gone].filter((other) => other.name !== name);
    await checkReached({ hub: cell.hub, others, lists }, batch, outcome.reached);
  };

  for (let step = 0; step < steps; step++) {
    const names = [...cell.nodes.keys()];
    const name = pick(names);
    const other = pick([...names, "hub"]);
    const dice = random.float();
    if (dice < 0.65) {
      const batch = Array.from({ length: 1 + random.integer(5) }, () =>
        sent.length > 0 && chance(0.15) ? pick(sent) : fresh(),
      );
      sent.push(...batch.filter(({ key }) => key));
      const levels: DurabilityLevel[] = [
        { level: "local" },
        { level: "peer", peers: 1 },
        { level: "peer", peers: 2 },
      ];
      if (batch.every(({ stream }) => stream !== "diary")) levels.push({ level: "hub" });
      const unique = batch.filter((entry, index) => entry.key || batch.indexOf(entry) === index);
      // A rejection that nobody awaits yet would end the process.
      appends.push(append(name, unique, pick(levels)).catch((error) => void failures.push(error)));
    } else if (dice < 0.8) {
      if (other !== name) cell.cut(name, other);
    } else if (dice < 0.93) {
      if (other !== name) cell.connect(name, other);
    } else if (dice < 0.965) {
      await cell.crash(name);
    } else if (dice < 0.985) {
      await cell.start(name);
      for (const peer of names) if (peer !== name && chance(0.7)) cell.connect(name, peer);
    } else if (dice < 0.992) {
      if (names.length > 2) await cell.leave(name);
    } else if (names.length < storesMax) {
      const newcomer = `n${++named}`;
      await cell.start(newcomer);
      for (const peer of [...names, "hub"]) if (chance(0.7)) cell.connect(newcomer, peer);
    }
    await clock.advance(random.integer(150));
  }

  for (const name of cell.nodes.keys()) await cell.start(name);
  cell.faults.current = noFaults;
  cell.connectAll();
  const expected = () => [...acknowledged].sort();
  for (let waitedMs = 500; ; waitedMs += 500) {
    await clock.advance(500);
    if (waitedMs > 10_000 && (await isConverged(cell, expected().length))) break;
    if (waitedMs < settleMs) continue;
    const where = await describe(cell);
    demand("unsettled", false, () => `not converged after ${waitedMs} ms: ${where}`);
  }
  await Promise.all(appends);
  for (const failure of failures) throw failure;

  for (const node of cell.nodes.values()) {
    const listed = (await listAll(node.store)).map(identity);
    demand(
      "twice",
      new Set(listed).size === listed.length,
      () => `${node.name} lists an entry twice`,
    );
    // What a crash left unanswered may be there as well; nothing acknowledged may be missing.
    const missing = expected().filter((key) => !listed.includes(key));
    demand("lost", missing.length === 0, () => `lost on ${node.name}: ${missing.join(", ")}`);
  }
  const [first, ...others] = [...cell.nodes.values()];
  if (!first) throw new Error("a cell without nodes");
  const whole = await listAll(first.store);
  const reference = whole.map(identity).sort().join("\n");
  for (const node of others) {
    const own = (await listAll(node.store)).map(identity).sort().join("\n");
    demand(
      "differs",
      own === reference,
      () => `${node.name} lists other entries than ${first.name}`,
    );
  }
  await checkHub(cell, whole);
  await cell.stop();
  return acknowledged.size;
}

/** What leaves is at the hub, as the gate lets it out, and nothing else. */
async function checkHub({ hub }: Cell, whole: readonly StoredEntry[]): Promise<void> {
  const shown = (entry: EntryInput, body: Uint8Array) =>
    `${entry.stream} ${entry.key ? keyText(entry) : ""} ${Buffer.from(body).toString()}`;
  const leaving = streams.filter(({ egress }) => egress).map(({ name }) => name);
  const there = await Promise.all(leaving.map((stream) => readAll(hub as never, { stream })));
  const atHub = there.flat().map((entry) => shown(entry, entry.body));
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

async function readAll(
  store: Pick<StreamStore, "read">,
  query: Pick<ReadQuery, "stream">,
): Promise<StoredEntry[]> {
  const all: StoredEntry[] = [];
  for (let after: ReadQuery["after"]; ;) {
    const page = await store.read({ ...query, after });
    all.push(...page.entries);
    after = page.cursor;
    if (!page.more) return all;
  }
}

async function listAll(store: Parameters<typeof readAll>[0]) {
  return (await Promise.all(streams.map(({ name }) => readAll(store, { stream: name })))).flat();
}

/** What stores list; of a node that is down, what it listed as it went down. */
function createLists() {
  const kept = new Map<Node, Promise<ReadonlySet<string>>>();
  const read = async ({ store }: Node): Promise<ReadonlySet<string>> =>
    new Set((await listAll(store)).map(identity));
  return {
    async keep(node: Node): Promise<void> {
      const list = read(node);
      kept.set(node, list);
      await list;
    },
    of: (node: Node) => kept.get(node) ?? read(node),
  };
}

/** D6: what an answer claims holds at that moment. */
async function checkReached(
  {
    hub,
    others,
    lists,
  }: {
    hub: GlobalStore;
    others: readonly Node[];
    lists: ReturnType<typeof createLists>;
  },
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
    const keys = new Set<string>();
    for (const { name: stream } of await hub.streams())
      for (const entry of await readAll(hub as never, { stream }))
        keys.add(`${stream} ${keyText(entry)}`);
    for (const entry of batch)
      demand(
        "claimed",
        !entry.key || keys.has(identity(entry)),
        () => `the hub was claimed for ${identity(entry)}`,
      );
  }
}

async function isConverged(cell: Cell, entriesMin: number): Promise<boolean> {
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
  const [first] = cell.nodes.values();
  return (
    same &&
    lanes.every((tops) => Object.entries(tops).every(([name, top]) => (hub[name] ?? 0) >= top)) &&
    text(hub) === text(vectors[0] ?? {}) &&
    (await listAll(first!.store)).length >= entriesMin
  );
}

async function describe(cell: Cell): Promise<string> {
  const parts = await Promise.all(
    [...cell.nodes.values()].map(
      async ({ name, store }) => `${name} ${JSON.stringify(await store.vector())}`,
    ),
  );
  return [...parts, `hub ${JSON.stringify(await cell.hub.vector("cell-a"))}`].join("; ");
}
