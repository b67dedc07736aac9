/**
 * Three stores and a hub under random cuts, crashes, losses, repetitions and reorderings of messages,
 * with resends to other nodes: after the heal every store lists exactly what was acknowledged, once,
 * and the hub what the gate lets out of it. Every acknowledgement is checked when it is given.
 */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { DurabilityLevel, EntryInput } from "../../src/api/index.ts";
import type { StreamDeclaration } from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createCell, type Cell } from "../support/data-cell.ts";
import { noFaults } from "../support/data-links.ts";
import { keyText, readAll, temporaryFolder } from "../support/data.ts";

const names = ["n1", "n2", "n3"] as const;
const streams: StreamDeclaration[] = [
  { name: "telemetry", retention: {}, egress: { keep: ["n", "site.id"] } },
  { name: "alarms", retention: {}, egress: { drop: ["secret"] } },
  { name: "diary", retention: {} },
];
const seeds = process.env["DATA_SIM_SEED"]
  ? [Number(process.env["DATA_SIM_SEED"])]
  : [1, 2, 3, 4, 5, 6];

for (const seed of seeds) {
  test(`D3, D4, D6, P1: convergence under faults, seed ${seed} (DATA_SIM_SEED=${seed} node --test test/sim/data-replication.test.ts)`, async () => {
    await simulate(seed);
  });
}

/** Stream and key, or stream and body for entries without a key. */
const identity = (entry: EntryInput) =>
  `${entry.stream} ${entry.key ? keyText(entry) : Buffer.from(entry.body).toString()}`;

async function simulate(seed: number): Promise<void> {
  using folder = temporaryFolder();
  const random = seededRandom(seed);
  const clock = createSimulatedClock();
  const chance = (share: number) => random.float() < share;
  const pick = <T>(items: readonly T[]): T => items[random.integer(items.length)] as T;
  const cell = await createCell(
    { clock, random },
    {
      folder: folder.path,
      names,
      streams,
      batchBytesMax: 300,
      // Every second seed with most entries sealed a moment after they came.
      ...(seed % 2 === 0 ? { sealing: { entriesMax: 5, tailEntries: 3, periodMs: 20 } } : {}),
      faults: { lost: 0.03, unanswered: 0.03, doubled: 0.05, delayMsMax: 60 },
    },
  );
  cell.connectAll();
  await clock.advance(100);

  const acknowledged = new Set<string>();
  const sent: EntryInput[] = [];
  const sequences = new Map<string, number>();
  const appends: Promise<void>[] = [];
  let unkeyed = 0;

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
    const outcome = await node.durability
      .append(batch, { level, timeoutMs: 3000 })
      .catch((error) => {
        // A crash of the node while it appends: nothing was acknowledged.
        if (error.code === "closed") return undefined;
        throw error;
      });
    if (!outcome || outcome.state === "refused") return;
    for (const entry of batch) acknowledged.add(identity(entry));
    await checkReached(cell, name, batch, outcome.reached);
  };

  for (let step = 0; step < 250; step++) {
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
      appends.push(append(name, unique, pick(levels)));
    } else if (dice < 0.8) {
      if (other !== name) cell.cut(name, other);
    } else if (dice < 0.93) {
      if (other !== name) cell.connect(name, other);
    } else if (dice < 0.965) {
      await cell.crash(name);
    } else {
      await cell.start(name);
      for (const peer of names) if (peer !== name && chance(0.7)) cell.connect(name, peer);
    }
    await clock.advance(random.integer(150));
  }

  for (const name of names) await cell.start(name);
  cell.faults.current = noFaults;
  cell.connectAll();
  const expected = () => [...acknowledged].sort();
  for (let waited = 0; ; waited++) {
    await clock.advance(500);
    if (waited > 20 && (await isConverged(cell, expected().length))) break;
    assert.ok(
      waited < 400,
      `not converged after ${waited / 2} virtual seconds: ${await describe(cell)}`,
    );
  }
  await Promise.all(appends);

  for (const node of cell.nodes.values()) {
    const listed = (await listAll(node.store)).map(identity);
    assert.equal(new Set(listed).size, listed.length, `${node.name} lists an entry twice`);
    // What a crash left unanswered may be there as well; nothing acknowledged may be missing.
    assert.deepEqual(
      expected().filter((key) => !listed.includes(key)),
      [],
      `lost on ${node.name}`,
    );
  }
  const [first, ...others] = [...cell.nodes.values()];
  const reference = (await listAll(first!.store)).map(identity).sort();
  for (const node of others)
    assert.deepEqual((await listAll(node.store)).map(identity).sort(), reference);

  const atHub = (
    await Promise.all(
      ["telemetry", "alarms"].map((stream) => readAll(cell.hub as never, { stream })),
    )
  ).flat();
  const leaving = (await listAll(first!.store)).filter(({ stream }) => stream !== "diary");
  const shown = (entry: EntryInput, body: Uint8Array) =>
    `${entry.stream} ${entry.key ? keyText(entry) : ""} ${Buffer.from(body).toString()}`;
  assert.deepEqual(
    atHub.map((entry) => shown(entry, entry.body)).sort(),
    leaving.map((entry) => shown(entry, naiveGate(entry))).sort(),
  );
  assert.deepEqual(
    (await cell.hub.streams()).map(({ name }) => name),
    ["alarms", "telemetry"],
  );
  await cell.stop();
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

async function listAll(store: Parameters<typeof readAll>[0]) {
  return (await Promise.all(streams.map(({ name }) => readAll(store, { stream: name })))).flat();
}

/** D6: what an answer claims holds at that moment. */
async function checkReached(
  cell: Cell,
  name: string,
  batch: readonly EntryInput[],
  reached: DurabilityLevel,
): Promise<void> {
  const wanted = batch.map(identity);
  const holds = async (store: Parameters<typeof readAll>[0]) => {
    const listed = new Set((await listAll(store)).map(identity));
    return wanted.every((key) => listed.has(key));
  };
  const others = [...cell.nodes.values()].filter((node) => node.name !== name && node.up);
  const down = [...cell.nodes.values()].filter((node) => !node.up).length;
  if (reached.level === "peer") {
    const holding = (await Promise.all(others.map(({ store }) => holds(store)))).filter(Boolean);
    assert.ok(
      holding.length + down >= reached.peers,
      `peer(${reached.peers}) was claimed for ${wanted}`,
    );
  }
  if (reached.level === "hub") {
    const keys = new Set<string>();
    for (const { name: stream } of await cell.hub.streams())
      for (const entry of await readAll(cell.hub as never, { stream }))
        keys.add(`${stream} ${keyText(entry)}`);
    for (const entry of batch) if (entry.key) assert.ok(keys.has(identity(entry)), identity(entry));
  }
}

async function isConverged(cell: Cell, entriesMin: number): Promise<boolean> {
  const hub = await cell.hub.vector("cell-a");
  const vectors = await Promise.all([...cell.nodes.values()].map(({ store }) => store.vector()));
  const text = (vector: Readonly<Record<string, number>>) =>
    JSON.stringify(
      Object.entries(vector)
        .filter(([, top]) => top > 0)
        .sort(),
    );
  const same = vectors.every((vector) => text(vector) === text(vectors[0] ?? {}));
  const [first] = cell.nodes.values();
  return (
    same &&
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
