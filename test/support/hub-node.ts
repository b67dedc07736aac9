/** One node and its hub in virtual time, with budgets and every batch that was sent. */
import { strict as assert } from "node:assert";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  connectHub,
  createHubBudget,
  createHubSync,
  encodeBatch,
  logsAndLanes,
  openGlobalStore,
  openStreamStore,
  parseLane,
  registerGlobalStore,
  type Limits,
  type StreamDeclaration,
} from "../../src/data/index.ts";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createGate, createRecheck, type Cleared } from "../../src/privacy/gate/index.ts";
import { entry, range, readAll, temporaryFolder } from "./data.ts";

export const log = silentLog;
export const dayMs = 86_400_000;
export const egress = { drop: [] };
export const telemetry: StreamDeclaration = { name: "telemetry", retention: {}, egress };
export const alarms: StreamDeclaration = { name: "alarms", retention: {}, egress, priority: 10 };

/** One node and a hub; `pushed` has every batch that the hub was sent, by log. */
export async function openNode(options: {
  streams: readonly StreamDeclaration[];
  limits?: Limits;
  limitsByStream?: Record<string, Limits>;
  /** Default 4096: several batches of few entries. */
  batchBytesMax?: number;
  /** Of what is periodic; a virtual day of seconds would take a minute. */
  periodMs?: number;
}) {
  const folder = temporaryFolder();
  const clock = createSimulatedClock();
  const random = seededRandom(1);
  const path = join(folder.path, "n1.db");
  const open = async (streams: readonly StreamDeclaration[]) => {
    const store = openStreamStore(
      { clock, random: seededRandom(random.integer(2 ** 32)), log },
      {
        path,
        node: "n1",
        retentionPeriodMs: 1e9,
        scrub: { periodMs: 1e9 },
        sealing: { entriesMax: 50, tailEntries: 20, periodMs: options.periodMs ?? 500 },
      },
    );
    await store.setStreams(streams);
    return store;
  };
  let store = await open(options.streams);
  let declared = options.streams;
  const hubPath = join(folder.path, "hub.db");
  const openHub = () =>
    openGlobalStore(
      { clock, random, log, recheck: createRecheck() },
      { path: hubPath, retentionPeriodMs: 1e9 },
    );
  let hub = openHub();
  const pushed: { log: string; bytes: number; atMs: number }[] = [];
  const startSync = async () => {
    const router = virtualRouter();
    registerGlobalStore(router, hub, () => "a");
    const gate = createGate({ encode: encodeBatch, log });
    const budget = createHubBudget({ clock, log, keeper: store.account }, options.limits ?? {});
    await budget.open();
    const declare = (streams: readonly StreamDeclaration[]) => {
      gate.setPolicies(Object.fromEntries(streams.map(({ name }) => [name, egress])));
      budget.declare(new Map(Object.entries(options.limitsByStream ?? {})));
    };
    declare(declared);
    const sync = createHubSync<Cleared<Uint8Array>>(
      {
        store: logsAndLanes(store),
        egress: {
          async clear(query) {
            const batch = store.readLeaving(query);
            if (!batch) return undefined;
            const cleared = gate.clear(batch);
            pushed.push({
              log: query.origin,
              bytes: cleared.bytes.length,
              atMs: clock.monotonicMs(),
            });
            return cleared;
          },
        },
        clock,
        random: seededRandom(2),
        log,
      },
      {
        node: "n1",
        batchBytesMax: options.batchBytesMax ?? 4096,
        periodMs: options.periodMs ?? 1000,
        budget,
        priorityOf: (name) =>
          declared.find((stream) => stream.name === parseLane(name)?.stream)?.priority ?? 0,
      },
    );
    const end = (name: string, of: ReturnType<typeof virtualRouter>) => ({
      peer: peerOf("a.skerry", "node", name),
      router: of,
    });
    const link = virtualLink(
      { clock, random, faults: () => ({ ...noFaults, delayMsMax: 0 }) },
      { left: end("n1", virtualRouter()), right: end("hub", router) },
    );
    sync.attach(connectHub<Cleared<Uint8Array>>(link.left), link.left.closed);
    const stop = () => {
      link.cut();
      sync.stop();
    };
    return { sync, budget, stop, declare };
  };
  let running = await startSync();
  const node = {
    clock,
    get hub() {
      return hub;
    },
    pushed,
    get store() {
      return store;
    },
    get budget() {
      return running.budget;
    },
    get sync() {
      return running.sync;
    },
    async declare(streams: readonly StreamDeclaration[]) {
      declared = streams;
      running.declare(streams);
      await store.setStreams(streams);
    },
    /** As after a crash when `isCrash`: what was not committed is gone. */
    async restart() {
      running.stop();
      await store.close();
      store = await open(declared);
      running = await startSync();
    },
    /** Answers what puts the hub back to how it was now, as from a backup. */
    async backUpHub(): Promise<() => Promise<void>> {
      const copy = join(folder.path, `copy-${clock.monotonicMs()}.db`);
      const during = async (work: () => void) => {
        running.stop();
        await hub.close();
        work();
        hub = openHub();
        running = await startSync();
      };
      await during(() => copyFileSync(hubPath, copy));
      return () =>
        during(() => {
          for (const end of ["-wal", "-shm"]) rmSync(`${hubPath}${end}`, { force: true });
          copyFileSync(copy, hubPath);
        });
    },
    sentBytes: () => pushed.reduce((sum, { bytes }) => sum + bytes, 0),
    async send(stream: string, from: number, count: number, size = 200) {
      const random16 = () =>
        Buffer.from(range(1, size / 2).map(() => random.integer(256))).toString("hex");
      const answer = await store.append(
        range(from, from + count - 1).map((n) =>
          entry(n, { stream, body: { n, pad: random16() } }),
        ),
      );
      assert.equal(answer.state, "stored");
    },
    async atHub(stream: string): Promise<number> {
      const known = (await hub.streams("a")).some(({ name }) => name === stream);
      return known ? (await readAll(hub as never, { stream })).length : 0;
    },
    async close() {
      running.stop();
      await store.close();
      await hub.close();
      folder[Symbol.dispose]();
    },
  };
  return node;
}
