/** Streams on a disk without a byte left: what gives way, what is taken all the same, and what a start needs. */
import { strict as assert } from "node:assert";
import { statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  connectStreamStore,
  openStreamStore,
  type LocalStreamStore,
  type StreamDeclaration,
} from "../../src/data/index.ts";
import type { StorageData, StorageThread } from "../../src/agent/storage.ts";
import { createSimulatedClock, type SimulatedClock } from "../../src/lib/clock-simulated.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { openMqttState } from "../../src/ingest/mqtt-state/index.ts";
import { openMirrorStore } from "../../src/resources/mirror-store/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { openBallast, withBallast, type Ballast } from "../../src/runtime/sqlite/index.ts";
import { startThread } from "../../src/runtime/thread/index.ts";
import { keysOf, padded, range, temporaryFolder } from "../support/data.ts";
import { smallDisk, type SmallDisk } from "../support/small-disk.ts";

const readings: StreamDeclaration = { name: "readings", retention: { whenFull: "drop" } };
const alarms: StreamDeclaration = { name: "alarms", retention: {}, priority: 10 };

/** As an agent opens it, over and over. */
function storeOn(disk: SmallDisk, clock: SimulatedClock, { ballast }: { ballast?: Ballast } = {}) {
  const random = seededRandom(3);
  let sent = 0;
  const open = async (streams = [readings, alarms]): Promise<LocalStreamStore> => {
    const store = withBallast(ballast, () =>
      openStreamStore(
        { clock, random, log: silentLog },
        { path: join(disk.path, "s.db"), node: "n1", ballast },
      ),
    );
    await store.setStreams(streams);
    return store;
  };
  return {
    open,
    /** The state, or code, of an append of so many. */
    async send(store: LocalStreamStore, stream: string, count: number): Promise<string> {
      const first = sent + 1;
      sent += count;
      const answer = await store.append(padded(stream, range(first, sent)));
      return answer.state === "stored" ? answer.state : answer.code;
    },
    async statusOf(store: LocalStreamStore, stream: string) {
      const found = (await store.status()).streams.find(({ name }) => name === stream);
      assert.ok(found);
      return found;
    },
  };
}

async function wholeBallast(disk: SmallDisk): Promise<Ballast> {
  const ballast = openBallast(join(disk.path, "ballast"));
  while (ballast.grow(ballast.pieceBytes));
  assert.equal(ballast.missingBytes, 0);
  return ballast;
}

test("D8: readings that fill the disk make room for themselves, for alarms, and for the next start", async () => {
  using folder = temporaryFolder();
  using disk = smallDisk(join(folder.path, "disk"), "16m");
  const clock = createSimulatedClock();
  const ballast = openBallast(join(disk.path, "ballast"));
  const { open, send, statusOf } = storeOn(disk, clock, { ballast });
  let store = await open();
  // It is made behind everything else.
  await clock.advance(20_000);
  assert.equal(ballast.missingBytes, 0);
  let sent = 0;
  for (; (await statusOf(store, "readings")).droppedWhenFull < 3000; sent += 100) {
    assert.equal(await send(store, "readings", 100), "stored");
    if (sent % 1000 === 0) await clock.advance(100);
  }
  const { entries, droppedWhenFull } = await statusOf(store, "readings");
  assert.equal(entries + droppedWhenFull, sent);
  assert.equal((await keysOf(store, { stream: "readings" })).length, entries);
  // What the log gave back is held again, for the next time.
  await clock.advance(20_000);
  assert.ok(ballast.missingBytes < 1.5 * ballast.pieceBytes, `${ballast.missingBytes} are missing`);
  let kept = 0;
  for (const start of [1, 2, 3]) {
    for (const _ of range(1, 10)) {
      assert.equal(await send(store, "readings", 100), "stored");
      assert.equal(await send(store, "alarms", 20), "stored");
    }
    kept += 200;
    assert.equal((await statusOf(store, "alarms")).entries, kept, `start ${start}`);
    await store.close();
    disk.fill();
    store = await open();
  }
  assert.equal((await keysOf(store, { stream: "alarms" })).length, kept);
  await store.close();
});

test("D8: another program fills the disk: streams give way within the file; once there is space nothing does", async () => {
  using folder = temporaryFolder();
  using disk = smallDisk(join(folder.path, "disk"), "16m");
  const clock = createSimulatedClock();
  const ballast = await wholeBallast(disk);
  const { open, send, statusOf } = storeOn(disk, clock, { ballast });
  let store = await open();
  for (const _ of range(1, 40)) await send(store, "readings", 100);
  await store.close();
  store = await open();
  disk.fill();
  let alarmsSent = 0;
  for (const round of range(1, 30)) {
    const states = await Promise.all([
      send(store, "readings", 100),
      ...range(1, 5).map(() => send(store, "alarms", 10)),
    ]);
    assert.deepEqual(new Set(states), new Set(["stored"]), `round ${round}`);
    alarmsSent += 50;
    // What the ballast gave is taken at once by somebody else, as far as it is not used.
    if (round === 5) disk.fill();
    await clock.advance(100);
  }
  assert.equal((await statusOf(store, "alarms")).entries, alarmsSent);
  const { entries, droppedWhenFull } = await statusOf(store, "readings");
  assert.ok(droppedWhenFull > 1000);
  assert.equal(entries + droppedWhenFull, 7000);

  disk.free();
  await clock.advance(1000);
  for (const _ of range(1, 30)) assert.equal(await send(store, "readings", 100), "stored");
  assert.equal((await statusOf(store, "readings")).droppedWhenFull, droppedWhenFull);
  await clock.advance(20_000);
  assert.equal(ballast.missingBytes, 0);
  await store.close();
});

test("D8: on a full disk a stream that declares nothing loses nothing", async () => {
  using folder = temporaryFolder();
  using disk = smallDisk(join(folder.path, "disk"), "16m");
  const clock = createSimulatedClock();
  const ballast = await wholeBallast(disk);
  const { open, send, statusOf } = storeOn(disk, clock, { ballast });
  const store = await open([alarms]);
  let stored = 0;
  let state = "stored";
  for (; state === "stored"; stored += state === "stored" ? 100 : 0)
    state = await send(store, "alarms", 100);
  assert.equal(state, "disk-full");
  disk.fill();
  const free = ballast.missingBytes;
  for (const _ of range(1, 50)) assert.equal(await send(store, "alarms", 1000), "disk-full");
  assert.ok(ballast.missingBytes <= free + ballast.pieceBytes, "refusing costs no ballast");
  assert.equal((await statusOf(store, "alarms")).entries, stored);
  await store.close();
});

test("D8: retention goes on on a full disk, and what it removes is room", async () => {
  using folder = temporaryFolder();
  using disk = smallDisk(join(folder.path, "disk"), "16m");
  const ballast = await wholeBallast(disk);
  const { open, send } = storeOn(disk, createSimulatedClock(), { ballast });
  let store = await open([alarms]);
  for (const _ of range(1, 60)) assert.equal(await send(store, "alarms", 100), "stored");
  await store.close();
  store = await open([alarms]);
  disk.fill();
  await store.setStreams([{ ...alarms, retention: { bytesMax: 4_000_000 } }]);
  assert.ok((await store.retain()).removed > 0);
  for (const _ of range(1, 10)) assert.equal(await send(store, "alarms", 100), "stored");
  await store.close();
});

test("D8: a store that is opened where the ballast was needed takes no more of the disk", async () => {
  using folder = temporaryFolder();
  using disk = smallDisk(join(folder.path, "disk"), "16m");
  const ballast = await wholeBallast(disk);
  const { open, send, statusOf } = storeOn(disk, createSimulatedClock(), { ballast });
  let store = await open();
  for (const _ of range(1, 20)) await send(store, "readings", 100);
  await store.close();
  const bytes = () => statSync(join(disk.path, "s.db")).size;
  const before = bytes();
  disk.fill();
  ballast.give(ballast.pieceBytes);
  store = await open();
  assert.equal(await send(store, "readings", 200), "stored");
  assert.ok((await statusOf(store, "readings")).droppedWhenFull > 0);
  await store.close();
  assert.equal(bytes(), before);
});

test("a store that finds no room to open says so, and leaves nothing open", async () => {
  using folder = temporaryFolder();
  using disk = smallDisk(join(folder.path, "disk"), "16m");
  const { open, send } = storeOn(disk, createSimulatedClock());
  let store = await open();
  await send(store, "readings", 100);
  await store.close();
  let refused = 0;
  for (const pages of range(0, 24)) {
    disk.fill(pages * 4096);
    try {
      await (await open()).close();
    } catch (error) {
      assert.ok(error instanceof SkerryError && error.hint, `${pages} pages: ${String(error)}`);
      assert.deepEqual([error.code, error.retryable], ["disk-full", true], `${pages} pages`);
      refused++;
    }
    disk.free();
  }
  assert.ok(refused > 10 && refused < 24, `${refused} refused`);
  store = await open();
  assert.equal((await keysOf(store, { stream: "readings" })).length, 100);
  await store.close();
});

for (const [what, open] of [
  ["mirror", (path: string) => openMirrorStore({ clock: systemClock, log: silentLog }, { path })],
  ["MQTT state", (path: string) => openMqttState({ log: silentLog }, { path })],
] as const) {
  test(`a ${what} that finds no room to be made says so, and is made when there is some`, async () => {
    using folder = temporaryFolder();
    using disk = smallDisk(join(folder.path, "disk"), "4m");
    for (const pages of range(0, 16)) {
      const path = join(disk.path, `${pages}.db`);
      disk.fill(pages * 4096);
      try {
        await open(path).close();
      } catch (error) {
        assert.ok(error instanceof SkerryError, `${pages} pages: ${String(error)}`);
        assert.equal(error.code, "disk-full", `${pages} pages`);
      }
      disk.free();
      await open(path).close();
    }
  });
}

/** The storage thread of a node whose data folder is that disk. */
async function startStores(disk: SmallDisk, logPath: string) {
  const data: StorageData = {
    dataDir: disk.path,
    node: "n1",
    holdsLedger: true,
    logLevel: "error",
    logPath,
  };
  const thread: StorageThread = await startThread(
    new URL("../../src/agent/storage.entry.ts", import.meta.url),
    { name: "storage", data },
  );
  const streams = connectStreamStore(thread, { node: "n1" });
  await streams.setStreams([readings, alarms]);
  return {
    streams,
    async [Symbol.asyncDispose]() {
      await streams.close();
      await thread.terminate();
    },
  };
}

test("a node's stores open on a full disk, and take what replaces what was there", async () => {
  using folder = temporaryFolder();
  using disk = smallDisk(join(folder.path, "disk"), "24m");
  const start = () => startStores(disk, join(folder.path, "agent.log"));
  {
    await using node = await start();
    await node.streams.append(padded("readings", range(1, 500)));
  }
  await wholeBallast(disk);
  disk.fill();
  for (const first of [1, 101]) {
    await using node = await start();
    const answer = await node.streams.append(padded("alarms", range(first, first + 99)));
    assert.equal(answer.state, "stored");
    disk.fill();
  }
  await using node = await start();
  assert.equal((await keysOf(node.streams, { stream: "alarms" })).length, 200);
});

test("a node's stores are made, and opened again, wherever the disk becomes full meanwhile", async () => {
  using folder = temporaryFolder();
  for (const pages of [0, 16, 24]) {
    using disk = smallDisk(join(folder.path, `disk-${pages}`), "24m");
    const start = () => startStores(disk, join(folder.path, "agent.log"));
    await wholeBallast(disk);
    disk.fill(pages * 4096);
    {
      await using node = await start();
      await node.streams.append(padded("alarms", [1]));
    }
    disk.free();
    await wholeBallast(disk);
    disk.fill(pages * 4096);
    await using node = await start();
    assert.equal((await keysOf(node.streams, { stream: "alarms" })).length, 1, `${pages} pages`);
  }
});
