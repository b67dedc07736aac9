/**
 * What a witness costs: the traffic that the servers' calls carry, idle and under load, its memory, and
 * what a put takes while a server leads and while the witness does, before it has handed leadership on.
 * All on one machine: a way of N ms to the witness adds about 2 N to each put while it leads, and
 * nothing while a server does.
 */
import { join } from "node:path";
import { weigh } from "../src/drill/scripts/soak-sample.ts";
import { processesNaming } from "../src/drill/site/processes.ts";
import { defaultTimers } from "../src/ledger/etcd/index.ts";
import { readFigures } from "../src/ledger/witness/index.ts";
import { getText } from "../src/runtime/node-http/index.ts";
import { systemClock } from "../src/runtime/clock/index.ts";
import {
  inFolder,
  interleave,
  latencyMs,
  rounded,
  type BenchOptions,
  type BenchResult,
} from "./support/bench.ts";
import { startMembers, type Members } from "./support/members.ts";

export const about = "a witness: its traffic, its memory, and puts while a server or it leads";

const hosts = ["127.0.53.1", "127.0.53.2", "127.0.53.3"];
const port = 17_446;
const putsPerRound = 200;
const putsPerSecond = 20;
const valueBytes = 1024;
const trafficForMs = 10_000;
const witness = "n3";

export const run = (options: BenchOptions): Promise<BenchResult> =>
  inFolder(async (folder) => {
    const { signal } = options;
    await using members = await startMembers({
      folder: join(folder, "etcd"),
      hosts,
      timers: defaultTimers,
      port,
      signal,
    });
    for (const member of members.all) member.start();
    await members.whole(signal);
    const ledger = await members.openLedger();
    try {
      const ids = new Map((await ledger.cluster.members()).map(({ name, id }) => [name, id]));
      const lead = async (name: string) => {
        const { leader } = await members.whole(signal);
        if (leader.name !== name) await ledger.cluster.moveLeader(ids.get(name) ?? "");
        await members.whole(signal);
      };
      const value = new Uint8Array(valueBytes);
      const put = async (i: number) => {
        const outcome = await ledger.transact([], [{ type: "put", key: `bench/${i % 50}`, value }]);
        if (outcome.state !== "done") throw new Error(`a put ended as ${outcome.state}`);
      };
      const puts = (leader: string) => async () => {
        await lead(leader);
        return { p50Ms: await latencyMs(putsPerRound, put) };
      };
      // Before it has handed leadership on, a witness is asked for as the leader it is.
      const seen = await interleave(options, { server: puts("n1"), witness: puts(witness) });
      await lead("n1");
      options.progress("traffic to the witness, idle");
      const idle = await traffic(members, signal, async () => undefined);
      options.progress("traffic to the witness, under load");
      let count = 0;
      const loaded = await traffic(members, signal, () => put(count++));
      const [pid = 0] = processesNaming(join(folder, "etcd", witness));
      const figures = {
        putServerLeadsP50Ms: seen.server.p50Ms,
        putWitnessLeadsP50Ms: seen.witness.p50Ms,
        idleKibPerSecond: idle,
        loadedKibPerSecond: loaded,
        loadedPutsPerSecond: (count * 1000) / trafficForMs,
        etcdPssMb: (weigh(pid)?.pssBytes ?? Number.NaN) / 1e6,
      };
      const table = Object.entries(figures).map(([measure, value]) => ({
        measure,
        value: rounded(value),
      }));
      return { ratios: {}, figures, table };
    } finally {
      await ledger.close();
    }
  });

/** Payload both ways, KiB a second, as etcd counts it: without TLS, HTTP and TCP around it. */
async function traffic(
  members: Members,
  signal: AbortSignal,
  work: () => Promise<unknown>,
): Promise<number> {
  const member = members.all.find(({ name }) => name === witness);
  const total = async () => {
    const url = `http://${member?.host}:${port + 2}/metrics`;
    const { receivedBytesById, sentBytes } = readFigures(await getText(url, { timeoutMs: 5000 }));
    return [...receivedBytesById.values()].reduce((a, b) => a + b, sentBytes);
  };
  const before = await total();
  const beganMs = systemClock.monotonicMs();
  while (systemClock.monotonicMs() - beganMs < trafficForMs) {
    await work();
    await systemClock.sleep(1000 / putsPerSecond, { signal });
  }
  return ((await total()) - before) / 1024 / ((systemClock.monotonicMs() - beganMs) / 1000);
}
