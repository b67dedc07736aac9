/** A node without a link to the hub hears from the others what the hub has: in virtual time. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createHubNews, wordOfStreams, type StreamDeclaration } from "../../src/data/index.ts";
import { createCell, type Cell } from "../../src/drill/simulated/convergence/streams-cell.ts";
import { trustDomain, type Node } from "../../src/drill/simulated/convergence/streams-node.ts";
import { noFaults, peerOf } from "../../src/drill/simulated/convergence/links.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { entry, range, readAll, telemetry, temporaryFolder } from "../support/data.ts";

const alarms: StreamDeclaration = { ...telemetry, name: "alarms", priority: 10 };

async function withCell(work: (cell: Cell, clock: SimulatedClock) => Promise<void>) {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const cell = await createCell(
    { clock, random: seededRandom(5) },
    {
      folder: folder.path,
      names: ["n1", "n2"],
      streams: [telemetry, alarms],
      faults: noFaults,
    },
  );
  await work(cell, clock);
  await cell.stop();
}

const nodeOf = (cell: Cell, name: string): Node => {
  const node = cell.nodes.get(name);
  assert.ok(node);
  return node;
};
/** At level `hub`, within a virtual minute. */
async function append(
  { durability }: Node,
  clock: SimulatedClock,
  numbers: readonly number[],
  stream = "telemetry",
) {
  const answer = durability.append(
    numbers.map((n) => entry(n, { stream })),
    { level: { level: "hub" }, timeoutMs: 60_000 },
  );
  const end = { isReached: false };
  void answer.then(() => (end.isReached = true));
  for (let second = 0; !end.isReached && second < 62; second++) await clock.advance(1000);
  return answer;
}
const sequences = async (cell: Cell, stream: string) =>
  (await readAll(cell.hub, { stream })).map(({ key }) => key?.sequence);

test("D6: what others sent to the hub for a node without a link to it reaches its level there, lanes too, and is no backlog", () =>
  withCell(async (cell, clock) => {
    cell.connect("n1", "hub");
    cell.connect("n1", "n2");
    const two = nodeOf(cell, "n2");
    for (const stream of ["telemetry", "alarms"]) {
      const answer = await append(two, clock, range(1, 5), stream);
      assert.equal(answer.state, "reached", JSON.stringify(answer));
      assert.deepEqual(await sequences(cell, stream), range(1, 5));
    }
    await clock.advance(3000);
    assert.equal((await two.store.status()).backlog.entries, 0);
  }));

test("D6: nobody tells what a hub has that does not answer him now", () =>
  withCell(async (cell, clock) => {
    cell.connect("n1", "hub");
    cell.connect("n1", "n2");
    const two = nodeOf(cell, "n2");
    await append(two, clock, range(1, 5));
    cell.cut("n1", "hub");
    // What the hub is said to have now was never sent there.
    await nodeOf(cell, "n1").hubSync.overhear({ "n2.never": 9 });
    const answer = await append(two, clock, range(6, 7));
    assert.equal(answer.state, "short", JSON.stringify(answer));
    assert.equal((await two.store.status()).backlog.entries, 2);
    assert.ok(!("n2.never" in two.hubSync.vector()));
    cell.connect("n1", "hub");
    assert.equal((await append(two, clock, range(6, 7))).state, "reached");
    assert.deepEqual(await sequences(cell, "telemetry"), range(1, 7));
  }));

test("nobody is asked while the cell has no hub, and all that are linked once it has", async () => {
  const clock = createSimulatedClock();
  let [hasHub, asked] = [false, 0];
  const news = createHubNews(
    {
      word: wordOfStreams(
        { connected: false, vector: () => ({}), overhear: async () => undefined },
        { vector: async () => ({ "n1.a": 1 }) },
      ),
      ...{ hasHub: () => hasHub, clock, log: silentLog },
    },
    { trustDomain },
  );
  news.attach({
    peer: peerOf(trustDomain, "node", "n2"),
    closed: new AbortController().signal,
    async request() {
      asked++;
      return new Uint8Array();
    },
  } as never);
  await clock.advance(3000);
  assert.equal(asked, 0);
  hasHub = true;
  await clock.advance(1000);
  assert.equal(asked, 1);
  news.stop();
});
