import { strict as assert } from "node:assert";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { createDeadLetters, nextEpoch, startTelemetry } from "../../src/ingest/index.ts";
import { readingOf } from "../../src/ingest/host/readings.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import {
  createHostReader,
  deviceNumbers,
  measureFsyncMs,
  type HostSample,
} from "../../src/runtime/host/index.ts";
import {
  memoryCgroupFiles,
  parseBootId,
  parseCgroupBytes,
  parseCpuTimes,
  parseDisk,
  parseLoad,
  parseMemory,
  parseNetwork,
  parsePressure,
  parseUptimeMs,
} from "../../src/runtime/host/parsers.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createTestStore, refused } from "../support/ingest.ts";
import { waitFor } from "../support/wait.ts";

const stat = `cpu  100 5 50 800 20 1 2 7 3 0
cpu0 50 2 25 400 10 0 1 3 0 0
cpu1 50 3 25 400 10 1 1 4 3 0
intr 1520742 0
`;
const meminfo = `MemTotal:        8000000 kB
MemFree:         1000000 kB
MemAvailable:    2000000 kB
SwapTotal:       1000 kB
SwapFree:         400 kB
`;
const diskstats = `   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 100 1 2000 50 10 2 4000 300 0 190 350 6 5 9 1 2 3
`;
const netdev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0
  eth0: 1000 1 0 0 0 0 0 0 30 1 0 0 0 0 0 0
 wlan0: 1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0
`;
const psi =
  "some avg10=5.23 avg60=6.92 avg300=3.16 total=39851154\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=77\n";

test("the kernel's files are parsed", () => {
  assert.deepEqual(parseCpuTimes(stat), { busy: 165, iowait: 20, steal: 7, total: 985, cores: 2 });
  assert.deepEqual(parseMemory(meminfo), {
    totalBytes: 8_000_000 * 1024,
    availableBytes: 2_000_000 * 1024,
    swapUsedBytes: 600 * 1024,
  });
  assert.deepEqual(parsePressure(psi), { someUs: 39851154, fullUs: 77 });
  assert.deepEqual(parsePressure("some avg10=0 avg60=0 avg300=0 total=4\n"), { someUs: 4 });
  assert.deepEqual(parseDisk(diskstats, { major: 254, minor: 0 }), {
    device: "vda",
    reads: 100,
    readBytes: 2000 * 512,
    readMs: 50,
    writes: 10,
    writtenBytes: 4000 * 512,
    writeMs: 300,
    busyMs: 190,
  });
  assert.deepEqual(parseNetwork(netdev), { receivedBytes: 1001, sentBytes: 32 });
  assert.deepEqual(parseLoad("0.50 0.40 0.30 1/200 99\n"), { load1: 0.5, load5: 0.4, load15: 0.3 });
  assert.equal(parseUptimeMs("123.45 200.00\n"), 123450);
  assert.equal(
    parseBootId("0d1f8a9c-1111-2222-3333-444455556666\n"),
    "0d1f8a9c-1111-2222-3333-444455556666",
  );
});

test("cgroup files are found in v1, v2 and hybrid hierarchies", () => {
  assert.equal(
    memoryCgroupFiles("4:memory:/a/b\n0::/\n")?.current,
    "memory/a/b/memory.usage_in_bytes",
  );
  assert.equal(memoryCgroupFiles("0::/user.slice\n")?.max, "user.slice/memory.max");
  assert.equal(memoryCgroupFiles("0::/\n")?.current, "memory.current");
  assert.equal(memoryCgroupFiles("nonsense"), undefined);
  assert.equal(parseCgroupBytes("max\n"), undefined);
  assert.equal(parseCgroupBytes("9223372036854771712\n"), undefined);
  assert.equal(parseCgroupBytes("4096\n"), 4096);
});

test("I7: whatever the files hold, what is not known is absent", () => {
  for (const content of [
    "",
    "garbage",
    "cpu  x y z\n",
    " 254 0 vda 1 2\n",
    "0.5\n",
    "MemTotal: 5 kB\n",
  ]) {
    assert.equal(parseCpuTimes(content), undefined);
    assert.equal(parseMemory(content), undefined);
    assert.equal(parsePressure(content), undefined);
    assert.equal(parseDisk(content, { major: 254, minor: 0 }), undefined);
    assert.equal(parseNetwork(content), undefined);
    assert.equal(parseLoad(content), undefined);
    assert.equal(parseUptimeMs(content), undefined);
    assert.equal(parseBootId(content), undefined);
  }
});

test("device numbers are those of the kernel", () => {
  assert.deepEqual(deviceNumbers(0xfe00), { major: 254, minor: 0 });
  // nvme0n1p700 would be 259:700: the minor's upper bits stand above the major.
  assert.deepEqual(deviceNumbers((0x2 << 20) | (259 << 8) | 0xbc), { major: 259, minor: 0x2bc });
});

function fixtureRoot(t: TestContext, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), "skerry-host-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

test("I7: on a host without pressure, cgroups or /proc/net the rest is still read", async (t) => {
  const root = fixtureRoot(t, {
    "proc/stat": stat,
    "proc/meminfo": meminfo,
    "proc/uptime": "5.00 1\n",
  });
  const sample = await createHostReader(
    { clock: systemClock },
    { root, dataFolder: join(root, "gone") },
  ).sample();
  assert.equal(sample.cpu?.cores, 2);
  assert.equal(sample.uptimeMs, 5000);
  assert.deepEqual(sample.pressure, { cpu: undefined, memory: undefined, io: undefined });
  assert.equal(sample.disk, undefined);
  assert.equal(sample.network, undefined);
  const keys = Object.keys(
    readingOf(sample, { ...sample, atMonotonicMs: sample.atMonotonicMs + 1000 }),
  );
  assert.ok(!keys.some((key) => /pressure|disk|network|cgroup|fsync/.test(key)), keys.join());
  assert.ok(keys.includes("memoryUsedPercent"));
});

test("this very host can be read, and its disk measured", async (t) => {
  const folder = fixtureRoot(t, {});
  const host = createHostReader({ clock: systemClock }, { dataFolder: folder });
  const first = await host.sample();
  const fsyncMs = await measureFsyncMs({ clock: systemClock }, folder);
  const reading = readingOf(first, await host.sample(), { fsyncMs });
  assert.ok((reading.memoryAvailableBytes ?? 0) > 0);
  assert.ok((reading.fsyncMs ?? -1) >= 0);
  assert.ok((reading.diskFreeBytes ?? 0) > 0);
  assert.match((await host.bootId()) ?? "", /^[0-9a-f-]{36}$/);
});

const sampleAt = (atMonotonicMs: number, more: Partial<HostSample> = {}): HostSample => ({
  atMonotonicMs,
  pressure: {},
  processBytes: 1,
  ...more,
});

test("rates are over the time between; what ran backwards is absent", () => {
  const disk = {
    device: "sda",
    reads: 10,
    readBytes: 0,
    readMs: 5,
    writes: 10,
    writtenBytes: 1000,
    writeMs: 100,
    busyMs: 10,
  };
  const reading = readingOf(
    sampleAt(0, {
      cpu: { busy: 100, iowait: 10, steal: 0, total: 1000, cores: 2 },
      pressure: { io: { someUs: 0, fullUs: 500 } },
      disk,
      network: { receivedBytes: 1000, sentBytes: 5 },
    }),
    sampleAt(2000, {
      cpu: { busy: 150, iowait: 30, steal: 0, total: 1200, cores: 2 },
      pressure: { io: { someUs: 500_000, fullUs: 100 } },
      disk: { ...disk, writes: 20, writtenBytes: 5000, writeMs: 300, busyMs: 1010 },
      network: { receivedBytes: 5000, sentBytes: 1 },
    }),
  );
  assert.equal(reading.cpuPercent, 25);
  assert.equal(reading.iowaitPercent, 10);
  assert.equal(reading.pressureIoPercent, 25);
  assert.equal(reading.diskWriteMs, 20);
  assert.equal(reading.diskWrittenBytesPerSecond, 2000);
  assert.equal(reading.diskBusyPercent, 50);
  assert.equal(reading.networkReceivedBytesPerSecond, 2000);
  for (const absent of [
    "pressureIoFullPercent",
    "diskReadMs",
    "networkSentBytesPerSecond",
    "load1",
  ])
    assert.ok(!(absent in reading), absent);
});

function telemetry(t: TestContext, options: { measureFsyncMs?: () => Promise<number> } = {}) {
  const clock = createSimulatedClock();
  const store = createTestStore();
  const deadLetters = createDeadLetters({ clock });
  const source = startTelemetry(
    {
      append: store.append,
      host: {
        sample: async () =>
          sampleAt(clock.monotonicMs(), { load: { load1: 1, load5: 1, load15: 1 } }),
        bootId: async () => undefined,
      },
      measureFsyncMs: options.measureFsyncMs ?? (async () => 3.5),
      deadLetters,
      clock,
      log: silentLog,
      metrics: createMetrics(),
    },
    { node: "n1", epoch: 7 },
  );
  t.after(() => source.stop());
  return { clock, store, source, deadLetters };
}

test("telemetry is one entry a second, numbered from 1 under host/NODE", async (t) => {
  const { clock, store, source } = telemetry(t);
  await clock.advance(12_000);
  assert.deepEqual(
    store.stored.map(({ key }) => key?.sequence),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
  );
  assert.deepEqual(store.stored[0]?.key, { producer: "host/n1", epoch: 7, sequence: 1 });
  assert.deepEqual(store.bodies().at(-1), { node: "n1", load1: 1, fsyncMs: 3.5, agentBytes: 1 });
  assert.equal(source.latest?.["load1"], 1);
});

test("I8: readings wait while the store refuses and are stored once, in order, when it is back", async (t) => {
  const { clock, store, source } = telemetry(t);
  store.behaviour = async () => refused("disk-full");
  await clock.advance(6000);
  assert.equal(source.waiting, 5);
  store.behaviour = undefined;
  await clock.advance(1000);
  assert.deepEqual(
    store.stored.map(({ key }) => key?.sequence),
    [1, 2, 3, 4, 5, 6],
  );
  assert.equal(source.waiting, 0);
});

test("I8: what waits is bounded, the oldest goes first", async (t) => {
  const { clock, store, source } = telemetry(t);
  store.behaviour = async () => refused("disk-full");
  await clock.advance(700_000);
  assert.equal(source.waiting, 600);
  store.behaviour = undefined;
  await clock.advance(1000);
  assert.equal(store.stored.at(-1)?.key?.sequence, 700);
  assert.equal(store.stored[0]?.key?.sequence, 101);
});

test("I8: an append that throws, or a disk that cannot be measured, stops nothing", async (t) => {
  const { clock, store } = telemetry(t, {
    measureFsyncMs: async () => Promise.reject(new Error("EIO")),
  });
  let throws = 3;
  store.behaviour = async () => {
    if (throws-- > 0) throw new Error("the storage thread ended");
    return undefined;
  };
  await clock.advance(15_000);
  assert.equal(store.stored.length, 14);
});

test("the epoch grows over restarts, a clock that goes back, and a torn file", (t) => {
  const root = fixtureRoot(t, {});
  const path = join(root, "epoch");
  const clock = createSimulatedClock();
  const deps = { clock, log: silentLog };
  const first = nextEpoch(deps, path);
  clock.stepWall(-1e12);
  const second = nextEpoch(deps, path);
  assert.equal(second, first + 1);
  writeFileSync(path, "torn");
  clock.stepWall(2e12);
  assert.ok(nextEpoch(deps, path) > second);
});

test("stop waits for what is under way", async (t) => {
  const { clock, store, source } = telemetry(t);
  const gate = Promise.withResolvers<undefined>();
  let asked = false;
  store.behaviour = () => {
    asked = true;
    return gate.promise;
  };
  const advancing = clock.advance(2000);
  await waitFor(() => asked, { what: "the store to be asked" });
  const stopping = source.stop();
  gate.resolve(undefined);
  await Promise.all([stopping, advancing]);
  assert.equal(store.stored.length, 1);
});
