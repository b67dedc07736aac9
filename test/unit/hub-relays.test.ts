/** Whose logs the nodes of a cell send to the hub: three nodes and a hub in virtual time. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createHubSync, type Hub, type HubSync } from "../../src/data/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";

type Batch = Uint8Array;
type Sent = { readonly by: string; readonly log: string };

const names = ["n1", "n2", "n3"];
/** Of a log in one batch, and how long the hub takes for one. */
const [batchEntries, pushMs] = [10, 100];

/** Every node has all logs, as in a cell that is whole. */
function cellOfThree() {
  const clock = createSimulatedClock();
  const mine: Record<string, number> = Object.fromEntries(names.map((name) => [`${name}.a`, 0]));
  const hub: Record<string, number> = { ...mine };
  const grown = new Set<() => void>();
  /** Every batch that reached the hub. */
  const sent: Sent[] = [];
  let away = false;

  const call = async <T>(ms: number, signal: AbortSignal, work: () => T): Promise<T> => {
    await clock.sleep(ms, { signal });
    // What is lost on the way is not answered: only the connection's end, or patience, ends the wait.
    if (away) await clock.sleep(1e9, { signal });
    return work();
  };
  const hubOf = (by: string): Hub<Batch> => ({
    push: (bytes, { signal }) =>
      call(pushMs, signal, () => {
        const { log, to } = JSON.parse(Buffer.from(bytes).toString()) as {
          log: string;
          to: number;
        };
        sent.push({ by, log });
        hub[log] = Math.max(hub[log] ?? 0, to);
        return { [log]: hub[log] };
      }),
    vector: ({ signal }) => call(1, signal, () => ({ ...hub })),
  });
  const openNode = (node: string): HubSync<Batch> =>
    createHubSync<Batch>(
      {
        store: {
          vector: async () => ({ ...mine }),
          on: (_, listener) => {
            const tell = () => listener({ vector: { ...mine } });
            grown.add(tell);
            return () => grown.delete(tell);
          },
        },
        egress: {
          async clear({ origin, from }) {
            const to = Math.min(mine[origin] ?? 0, from + batchEntries - 1);
            const bytes = Buffer.from(JSON.stringify({ log: origin, to }));
            return { origin, from, to, entries: to - from + 1, bytes };
          },
        },
        clock,
        random: seededRandom(names.indexOf(node)),
        log: silentLog,
      },
      { node },
    );
  const syncs = new Map(names.map((name) => [name, openNode(name)]));
  const links = new Map<string, AbortController>();

  return {
    clock,
    write(node: string, entries: number) {
      mine[`${node}.a`] = (mine[`${node}.a`] ?? 0) + entries;
      for (const tell of grown) tell();
    },
    connect(...nodes: string[]) {
      away = false;
      for (const node of nodes) {
        const link = new AbortController();
        links.set(node, link);
        syncs.get(node)?.attach(hubOf(node), link.signal);
      }
    },
    /** Nothing arrives any more; nobody is told. */
    cut: () => void (away = true),
    /** The connections of these nodes are known to be gone. */
    end(...nodes: string[]) {
      const lost = new SkerryError({ code: "link-lost", message: "cut", retryable: true });
      for (const node of nodes) links.get(node)?.abort(lost);
    },
    isLevel: () => Object.entries(mine).every(([log, top]) => hub[log] === top),
    foreign: () => sent.filter(({ by, log }) => !log.startsWith(`${by}.`)),
    stop() {
      for (const sync of syncs.values()) sync.stop();
    },
  };
}

/** While nodes write on, a second at a time. */
async function writing(cell: ReturnType<typeof cellOfThree>, seconds: number, each: number) {
  for (let second = 0; second < seconds; second++) {
    for (const name of names) cell.write(name, each);
    await cell.clock.advance(1000);
  }
}

test("after an outage, and after quiet, each node sends its own log, and nobody another's", async () => {
  const cell = cellOfThree();
  cell.connect(...names);
  await writing(cell, 10, 5);
  await cell.clock.advance(60_000);
  await writing(cell, 3, 5);
  assert.ok(cell.isLevel());
  assert.equal(cell.foreign().length, 0);
  // Time for all to hear it: what the hub is told to have is what it still has after the outage.
  await cell.clock.advance(5000);
  cell.cut();
  // The links look alive for a while, and longer than a hub may lag behind another node's log.
  await writing(cell, 9, 500);
  cell.end(...names);
  await writing(cell, 60, 500);
  cell.connect(...names);
  for (let seconds = 0; !cell.isLevel(); seconds++) {
    assert.ok(seconds < 600, "the hub has everything in the end");
    await cell.clock.advance(1000);
  }
  assert.equal(cell.foreign().length, 0);
  cell.stop();
});

test("what the hub waits for without progress is sent by another node, until the hub has it", async () => {
  const cell = cellOfThree();
  cell.connect(...names);
  await writing(cell, 3, 5);
  cell.end("n2");
  cell.write("n2", 100);
  await cell.clock.advance(4000);
  assert.equal(cell.foreign().length, 0);
  await cell.clock.advance(6000);
  assert.ok(cell.isLevel());
  assert.ok(cell.foreign().length >= 10);
  const before = cell.foreign().length;
  // Its node is back and sends by itself.
  cell.connect("n2");
  await cell.clock.advance(1000);
  await writing(cell, 20, 5);
  assert.ok(cell.isLevel());
  assert.equal(cell.foreign().length, before);
  cell.stop();
});

test("a relay that loses its own link goes on with it", async () => {
  const cell = cellOfThree();
  cell.connect("n1");
  cell.write("n2", 100_000);
  await cell.clock.advance(9000);
  const before = cell.foreign().length;
  assert.ok(before > 0 && !cell.isLevel());
  cell.end("n1");
  cell.connect("n1");
  await cell.clock.advance(1500);
  assert.ok(cell.foreign().length > before);
  cell.stop();
});
