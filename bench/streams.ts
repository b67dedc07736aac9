/**
 * Entries acknowledged, as a node's clients see it: over MQTT at QoS 1 with mTLS, and over HTTP in
 * batches, on one node (`local`) and on three (`peer(1)`). Beside it, in the same turns: bare
 * `node:sqlite` with the same fsync (the ceiling), Mosquitto and JetStream with their files on the
 * same disk. Both of those acknowledge before their fsync, Skerry and the ceiling after it; JetStream
 * once more with files that are written synchronously, which is what Skerry promises.
 *
 * Closed loop: 1,000 entries of 121 bytes always in flight. Open loop: 10,000 entries/s, each
 * entry's time counted from when it was due (`load.ts`).
 */
import { join } from "node:path";
import { inFolder, interleave, type BenchOptions, type BenchResult } from "./support/bench.ts";
import {
  declareStream,
  eventLoopDelayP99Ms,
  preferBuilt,
  startCell,
  type Cell,
} from "./support/cells.ts";
import { closedLoop, openLoop, type Latency, type OpenSender } from "./support/load.ts";
import {
  createPeerIdentity,
  requirePrograms,
  startJetStream,
  startMosquitto,
  type Peer,
} from "./support/peers.ts";
import { httpSender } from "./support/senders/http.ts";
import { mqttSender } from "./support/senders/mqtt.ts";
import { natsSender } from "./support/senders/nats.ts";
import { keyedPayload } from "./support/senders/payload.ts";
import { sqliteSender } from "./support/senders/sqlite.ts";

export const about =
  "entries acknowledged over MQTT and HTTP against bare SQLite, Mosquitto and JetStream";

const inFlight = 1000;
const closedMs = 3000;
const perSecond = 10_000;
const openMsDefault = 60_000;
const host = (last: number) => `127.0.72.${last}`;
const requests = { stream: "bench", groupEntries: 50 };
const topic = (stream: string) => `streams/${stream}`;

type Contestant = {
  readonly what: string;
  /** When it acknowledges, for the table. */
  readonly acknowledges: string;
  /** Its share of the time that the open loop lasts for Skerry and the ceiling. */
  readonly openShare: number;
  turn<T>(measure: (open: OpenSender) => Promise<T>): Promise<T>;
  /** The cell whose control thread is looked at meanwhile. */
  readonly cell?: Cell;
};

type Measure = {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  loopP99Ms: number;
};

function skerryContestants(one: Cell, three: Cell) {
  const at = { origin: one.nodes[0]?.gateway ?? "", token: one.token };
  const threeAt = { origin: three.nodes[0]?.gateway ?? "", token: three.token };
  const sender =
    (open: OpenSender): Contestant["turn"] =>
    (measure) =>
      measure(open);
  const afterFsync = "after fsync";
  return {
    mqtt: {
      what: "Skerry local, MQTT QoS 1, mTLS",
      acknowledges: afterFsync,
      openShare: 1,
      cell: one,
      turn: sender(mqttSender(one.mqtt, { topic: topic("bench") })),
    },
    mqttKeyed: {
      what: "Skerry local, MQTT QoS 1, mTLS, each entry with a $key",
      acknowledges: afterFsync,
      openShare: 0,
      cell: one,
      turn: sender(
        mqttSender(one.mqtt, {
          topic: topic("bench"),
          body: (client) => keyedPayload(`device-${client}`),
        }),
      ),
    },
    http: {
      what: "Skerry local, HTTP, 50 a request, no TLS",
      acknowledges: afterFsync,
      openShare: 0.5,
      cell: one,
      turn: (measure) => measure(httpSender(at, { ...requests, level: "local" })),
    },
    mqttPeer: {
      what: "Skerry peer(1), 3 nodes, MQTT QoS 1, mTLS",
      acknowledges: "after 2 nodes' fsync",
      openShare: 0.5,
      cell: three,
      turn: sender(mqttSender(three.mqtt, { topic: topic("bench") })),
    },
    httpPeer: {
      what: "Skerry peer(1), 3 nodes, HTTP, 50 a request, no TLS",
      acknowledges: "after 2 nodes' fsync",
      openShare: 0,
      cell: three,
      turn: (measure) => measure(httpSender(threeAt, { ...requests, level: "peer(1)" })),
    },
  } satisfies Record<string, Contestant>;
}

async function peerContestants(folder: string) {
  const identity = await createPeerIdentity(join(folder, "peers"));
  let turns = 0;
  const started =
    (start: (folder: string) => Promise<Peer>, sender: (peer: Peer) => OpenSender) =>
    async <T>(measure: (open: OpenSender) => Promise<T>): Promise<T> => {
      await using peer = await start(join(folder, `peer-${++turns}`));
      return await measure(sender(peer));
    };
  const jetStream = (hosts: readonly string[], isSynced = false) =>
    started(
      (path) => startJetStream({ folder: path, hosts, isSynced }, identity),
      ({ endpoint }) => natsSender(endpoint),
    );
  return {
    ceiling: {
      what: "bare node:sqlite, one transaction for all in flight (ceiling)",
      acknowledges: "after fsync",
      openShare: 1,
      turn: (measure) => inFolder((path) => measure(sqliteSender(path))),
    },
    mosquitto: {
      what: "Mosquitto 2, persistence, MQTT QoS 1, mTLS",
      acknowledges: "from memory; autosave every 30 min",
      openShare: 0.5,
      turn: started(
        (path) => startMosquitto({ folder: path, host: host(30), topic: "bench" }, identity),
        ({ endpoint }) => mqttSender(endpoint, { topic: "bench" }),
      ),
    },
    jetstream: {
      what: "JetStream, file storage, mTLS",
      acknowledges: "before fsync (2.9: every 2 min, not settable)",
      openShare: 0.5,
      turn: jetStream([host(40)]),
    },
    jetstreamThree: {
      what: "JetStream, 3 servers, 3 replicas, file storage, mTLS",
      acknowledges: "before fsync, after 2 servers' write",
      openShare: 0,
      turn: jetStream([host(41), host(42), host(43)]),
    },
    jetstreamSynced: {
      what: "JetStream, file storage, mTLS, synchronous files",
      acknowledges: "after its write is on the disk",
      openShare: 0,
      turn: jetStream([host(44)], true),
    },
    jetstreamThreeSynced: {
      what: "JetStream, 3 servers, 3 replicas, mTLS, synchronous files",
      acknowledges: "after 2 servers' writes are on the disk",
      openShare: 0,
      turn: jetStream([host(45), host(46), host(47)], true),
    },
  } satisfies Record<string, Contestant>;
}

async function measure(contestant: Contestant, openMs: number): Promise<Measure> {
  const { cell } = contestant;
  const perSecondClosed = await contestant.turn((open) =>
    closedLoop(open, { inFlight, forMs: closedMs }),
  );
  const none: Latency = { p50Ms: Number.NaN, p99Ms: Number.NaN, maxMs: Number.NaN };
  const forMs = openMs * contestant.openShare;
  if (cell) await eventLoopDelayP99Ms(cell);
  const latency =
    forMs === 0 ? none : await contestant.turn((open) => openLoop(open, { perSecond, forMs }));
  const loopP99Ms = cell && forMs > 0 ? await eventLoopDelayP99Ms(cell) : Number.NaN;
  return { perSecond: perSecondClosed, ...latency, loopP99Ms };
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  requirePrograms({ mosquitto: "mosquitto", "nats-server": "nats-server" });
  const { progress, signal } = options;
  progress(`skerry runs from ${preferBuilt()}/`);
  const openMs = (options.forMs ?? openMsDefault) / options.rounds;
  return await inFolder(async (folder) => {
    await using cells = new AsyncDisposableStack();
    const start = async (cell: string, hosts: readonly string[], durability: string) => {
      progress(`starting ${hosts.length} node${hosts.length > 1 ? "s" : ""}`);
      const started = cells.use(
        await startCell({ folder: join(folder, cell), cell, hosts, signal }),
      );
      await declareStream(started, { name: "bench", durability });
      return started;
    };
    const one = await start("bench-one", [host(10)], "local");
    const three = await start("bench-three", [host(11), host(12), host(13)], "peer(1)");
    const contestants = { ...(await peerContestants(folder)), ...skerryContestants(one, three) };
    const measured = await interleave(
      options,
      Object.fromEntries(
        Object.entries(contestants).map(([name, contestant]) => [
          name,
          () => measure(contestant, openMs),
        ]),
      ) as Record<keyof typeof contestants, () => Promise<Measure>>,
    );
    return report(contestants, measured);
  });
}

type Name =
  | keyof Awaited<ReturnType<typeof peerContestants>>
  | keyof ReturnType<typeof skerryContestants>;

function report(
  contestants: Readonly<Record<Name, Contestant>>,
  measured: Readonly<Record<Name, Measure>>,
): BenchResult {
  const { ceiling, mosquitto, mqtt, http, mqttPeer } = measured;
  const { jetstream, jetstreamThree, jetstreamSynced, jetstreamThreeSynced } = measured;
  const ms = (value: number) => (Number.isNaN(value) ? "" : Number(value.toPrecision(3)));
  return {
    ratios: {
      "ceiling.mqttThroughput": mqtt.perSecond / ceiling.perSecond,
      "ceiling.httpThroughput": http.perSecond / ceiling.perSecond,
      "ceiling.mqttP99": ceiling.p99Ms / mqtt.p99Ms,
      "ceiling.mqttPeerP99": ceiling.p99Ms / mqttPeer.p99Ms,
      "mosquitto.throughput": mqtt.perSecond / mosquitto.perSecond,
      "mosquitto.p99": mosquitto.p99Ms / mqtt.p99Ms,
      "jetstream.throughput": mqtt.perSecond / jetstream.perSecond,
      "jetstream.httpThroughput": http.perSecond / jetstream.perSecond,
      "jetstream.p99": jetstream.p99Ms / mqtt.p99Ms,
      "jetstream.peerThroughput": mqttPeer.perSecond / jetstreamThree.perSecond,
      "jetstreamSynced.throughput": mqtt.perSecond / jetstreamSynced.perSecond,
      "jetstreamSynced.peerThroughput": mqttPeer.perSecond / jetstreamThreeSynced.perSecond,
    },
    figures: {
      ceilingPerSecond: ceiling.perSecond,
      ceilingP99Ms: ceiling.p99Ms,
      mosquittoPerSecond: mosquitto.perSecond,
      jetstreamPerSecond: jetstream.perSecond,
      jetstreamThreePerSecond: jetstreamThree.perSecond,
      jetstreamSyncedPerSecond: jetstreamSynced.perSecond,
      jetstreamThreeSyncedPerSecond: jetstreamThreeSynced.perSecond,
      mqttPerSecond: mqtt.perSecond,
      mqttKeyedPerSecond: measured.mqttKeyed.perSecond,
      mqttP50Ms: mqtt.p50Ms,
      mqttP99Ms: mqtt.p99Ms,
      mqttMaxMs: mqtt.maxMs,
      mqttEventLoopDelayP99Ms: mqtt.loopP99Ms,
      httpPerSecond: http.perSecond,
      httpP99Ms: http.p99Ms,
      mqttPeerPerSecond: mqttPeer.perSecond,
      mqttPeerP99Ms: mqttPeer.p99Ms,
      mqttPeerEventLoopDelayP99Ms: mqttPeer.loopP99Ms,
      httpPeerPerSecond: measured.httpPeer.perSecond,
    },
    table: (Object.keys(contestants) as Name[]).map((name) => ({
      what: contestants[name].what,
      acknowledges: contestants[name].acknowledges,
      "entries/s": Math.round(measured[name].perSecond),
      "p50 ms": ms(measured[name].p50Ms),
      "p99 ms": ms(measured[name].p99Ms),
      "max ms": ms(measured[name].maxMs),
      "loop delay p99 ms": ms(measured[name].loopP99Ms),
    })),
  };
}
