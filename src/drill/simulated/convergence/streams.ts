/**
 * Up to seven stores and a hub under cuts, lost, delayed, repeated and reordered messages, power cuts at any
 * single write, the hub's too, clocks that are years off or step, resends to other nodes, stores that come
 * new and stores that go for good. Checked all the way: every acknowledgement when it is given, and that
 * stores list what their vectors cover. After the heal every store lists exactly what was acknowledged,
 * once, each position of a log is of one entry, and the hub has what the gate lets out.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { DurabilityLevel, EntryInput } from "../../../api/index.ts";
import { createSimulatedClock } from "../../../lib/clock-simulated.ts";
import { seededRandom } from "../../../lib/random.ts";
import { roomyFolder } from "../../faults/power-cut.ts";
import { noFaults } from "./links.ts";
import { createCell } from "./streams-cell.ts";
import {
  checkCovered,
  checkReached,
  checkStores,
  createLists,
  describe,
  identity,
  isConverged,
  streams,
} from "./streams-checks.ts";
import { hubName } from "./streams-hub.ts";
import { spoiled, type StreamsPlanted } from "./streams-planted.ts";
import { demand } from "./violation.ts";

const steps = 300;
const storesMax = 7;
const settleMs = 200_000;
const dayMs = 86_400_000;
/** Steps between looks at whole stores. */
const coveredEvery = 4;

/** The hub stands on the other end. */
const linkOf = (a: string, b: string): [string, string] => (a === hubName ? [b, a] : [a, b]);

/** Gives how many entries were acknowledged. Throws `Violation`. */
export async function simulateStreams(
  seed: number,
  planted: StreamsPlanted = "none",
): Promise<number> {
  const folder = mkdtempSync(join(roomyFolder(), "skerry-convergence-"));
  try {
    return await simulate(seed, folder, planted);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function simulate(seed: number, folder: string, planted: StreamsPlanted): Promise<number> {
  const random = seededRandom(seed);
  const clock = createSimulatedClock();
  const chance = (share: number) => random.float() < share;
  const pick = <T>(items: readonly T[]): T => items[random.integer(items.length)] as T;
  const lists = createLists();
  let named = 3 + random.integer(storesMax - 2);
  const cell = await createCell(
    { clock, random },
    {
      folder,
      names: Array.from({ length: named }, (_, index) => `n${index + 1}`),
      streams,
      batchBytesMax: 300,
      // Every second seed with most entries sealed a moment after they came.
      ...(seed % 2 === 0 ? { sealing: { entriesMax: 5, tailEntries: 3, periodMs: 20 } } : {}),
      faults: { lost: 0.03, unanswered: 0.03, doubled: 0.05, delayMsMax: 60 },
      onDown: lists.keep,
      ...spoiled(planted),
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
        // The power went while it appended: nothing was acknowledged.
        if (error.code === "closed") return undefined;
        throw error;
      });
    if (!outcome || outcome.state === "refused") return;
    for (const entry of batch) acknowledged.add(identity(entry));
    // Who had it then may be gone by now, for a while or for good; not who was gone for good before.
    const gone = cell.departed.slice(departedBefore);
    const others = [...cell.nodes.values(), ...gone].filter((other) => other.name !== name);
    await checkReached({ hub: cell.hubMachine, others, lists }, batch, outcome.reached);
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
    } else if (dice < 0.75) {
      if (other !== name) cell.cut(name, other);
    } else if (dice < 0.86) {
      if (other !== name) cell.connect(name, other);
    } else if (dice < 0.89) {
      cell.cutAfter(other, random.integer(60));
    } else if (dice < 0.905) {
      await cell.crash(other);
    } else if (dice < 0.915) {
      await cell.halt(name);
    } else if (dice < 0.955) {
      // Now and then the power goes again while it opens, or soon after.
      await cell.start(other, chance(0.2) ? { cutAfter: random.integer(40) } : {});
      for (const peer of [...names, hubName])
        if (peer !== other && chance(0.7)) cell.connect(...linkOf(other, peer));
    } else if (dice < 0.965) {
      if (names.length > 2) await cell.leave(name);
    } else if (dice < 0.98) {
      cell.skew(other, pick([0, 5000, -5000, 366 * dayMs, -60 * 366 * dayMs]));
    } else if (names.length < storesMax) {
      const newcomer = `n${++named}`;
      await cell.start(newcomer);
      for (const peer of [...names, hubName]) if (chance(0.7)) cell.connect(newcomer, peer);
    }
    await clock.advance(random.integer(150));
    const running = [...cell.nodes.values(), cell.hubMachine].filter(({ up }) => up);
    const one = pick([...cell.nodes.values()]);
    if (one.up && step % coveredEvery === 0) await checkCovered(one, pick(running));
  }

  for (const name of [...cell.nodes.keys(), hubName]) {
    cell.cutAfter(name, undefined);
    await cell.start(name);
  }
  cell.faults.current = noFaults;
  cell.connectAll();
  for (let waitedMs = 500; ; waitedMs += 500) {
    await clock.advance(500);
    if (waitedMs > 10_000 && (await isConverged(cell))) break;
    if (waitedMs < settleMs) continue;
    const where = await describe(cell);
    demand("unsettled", false, () => `not converged after ${waitedMs} ms: ${where}`);
  }
  await Promise.all(appends);
  for (const failure of failures) throw failure;

  await checkStores(cell, acknowledged);
  await cell.stop();
  return acknowledged.size;
}
