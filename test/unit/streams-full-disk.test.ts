/** Full disks: what gives way, what is refused, what is never lost. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { openStreamStore } from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { entry, keysOf, range, temporaryFolder } from "../support/data.ts";
import { letSeal, small } from "../support/segments.ts";

test("D8: on a full disk streams that declare it give way, lowest priority first, counted; the others lose nothing", async () => {
  using folder = temporaryFolder();
  const clock = createSimulatedClock();
  const drop = { retention: { whenFull: "drop" as const } };
  const store = openStreamStore(
    { clock, random: seededRandom(5), log: silentLog },
    { path: join(folder.path, "s.db"), node: "n1", sealing: small, fileBytesMax: 2_000_000 },
  );
  await store.setStreams([
    { name: "readings", ...drop },
    { name: "events", ...drop, priority: 5 },
    { name: "alarms", retention: {}, priority: 10 },
  ]);
  const random = seededRandom(4);
  const body = () => ({
    pad: Buffer.from(range(1, 500).map(() => random.integer(256))).toString("hex"),
  });
  const send = (stream: string, from: number, count: number) =>
    store.append(range(from, from + count - 1).map((n) => entry(n, { stream, body: body() })));
  const countOf = async (stream: string) =>
    (await store.status()).streams.find(({ name }) => name === stream);

  for (let n = 1; n <= 1000; n += 100) {
    await send("alarms", n, 50);
    await send("events", n, 50);
    await send("readings", n, 50);
    await letSeal(clock, 2);
  }
  // Far more readings than there is room for: they only ever take their own room.
  for (let n = 2001; n <= 4000; n += 100) {
    const answer = await send("readings", n, 100);
    assert.deepEqual(answer.state === "stored" && answer.stored, 100, JSON.stringify(answer));
    await letSeal(clock, 2);
  }
  const readings = await countOf("readings");
  assert.equal((readings?.entries ?? 0) + (readings?.droppedWhenFull ?? 0), 2500);
  assert.ok((readings?.droppedWhenFull ?? 0) > 500);
  assert.deepEqual((await keysOf(store, { stream: "readings" })).at(-1), "p1/1/4000");
  assert.deepEqual(
    [(await countOf("events"))?.entries, (await countOf("events"))?.droppedWhenFull],
    [500, 0],
  );

  // Alarms may take the room of all the others, and are refused when there is none left.
  let refused: string | undefined;
  let alarms = 500;
  for (let n = 10_001; !refused && n < 20_000; n += 50) {
    const answer = await send("alarms", n, 50);
    if (answer.state === "refused") refused = answer.code;
    else alarms += answer.stored;
  }
  assert.equal(refused, "disk-full");
  assert.equal((await countOf("readings"))?.entries, 0);
  assert.equal((await countOf("events"))?.droppedWhenFull, 500);
  assert.equal((await keysOf(store, { stream: "alarms" })).length, alarms);
  await store.close();
});
