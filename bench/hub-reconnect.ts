/**
 * A thousand cells lose their hub and get it back. First all of them call at the same moment,
 * beside as many handshakes at once with a bare `tls.Server` that wants the same certificates; then the
 * hub is killed, and stays away until every cell waits as long as it ever does between two tries: from
 * when it listens again until the last cell has had a batch acknowledged, with the jitter of real nodes.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer, type TLSSocket } from "node:tls";
import { weigh } from "../src/drill/scripts/soak-sample.ts";
import { startHub, stopHub, type HubInfo } from "../src/hub/index.ts";
import { serverTlsOptions, spiffeId, type Authority } from "../src/identity/index.ts";
import type { Credentials } from "../src/transport/index.ts";
import { ascending, percentile } from "../src/lib/percentile.ts";
import { systemClock as clock } from "../src/runtime/clock/index.ts";
import { inFolder, type BenchOptions, type BenchResult } from "./support/bench.ts";
import { enrolCells } from "./support/enrol.ts";
import { startCells } from "./support/reconnect/process.ts";
import type { Around, Met } from "./support/reconnect/protocol.ts";

export const about = "1,000 cells reconnecting to one hub at once, against bare TLS handshakes";

const cellCount = 1000;
const host = "127.0.67.1";
const hubName = "bench";
/** Longer than nodes ever wait between two tries (5 s). */
const awayMs = 12_000;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const { progress, signal } = options;
  return await inFolder(async (folder) => {
    const dataDir = join(folder, "hub");
    progress(`enrolling ${cellCount} cells`);
    const enrolled = await enrolCells(
      { dataDir, name: hubName },
      { folder, cells: cellCount, nodesPerCell: 1 },
    );
    const { authority } = enrolled;
    const cells = enrolled.cells.map(({ name, credentials }) => ({
      name,
      credentials: credentials[0] as Credentials,
    }));
    const around = { cells, trust: authority.trust };
    const bare = await bareHandshakes(authority, around);
    progress(`bare handshakes: ${Math.round(bare.perSecond)} a second`);

    const start = (port: number) => startHub({ dataDir, name: hubName, host, port }, { clock });
    let hub = await start(0);
    const port = portOf(hub);
    try {
      const empty = weigh(hub.pid);
      await using fleet = startCells();
      const first = await all(fleet.connect({ ...around, hub: { host, port } }), signal);
      progress(`first contact of all: ${Math.round(first.lastMs)} ms`);
      const full = weigh(hub.pid);

      process.kill(hub.pid, "SIGKILL");
      await sleep(awayMs, undefined, { signal });
      const again = fleet.again();
      hub = await start(port);
      const readyMs = Date.now();
      const back = await all(again, signal, readyMs);
      progress(`back after the hub was away: ${Math.round(back.lastMs)} ms`);
      const after = weigh(hub.pid);
      const perSecond = (cellCount / first.lastMs) * 1000;
      const perCell = ((full?.pssBytes ?? NaN) - (empty?.pssBytes ?? NaN)) / cellCount;
      return {
        ratios: { "tls.atOnce": perSecond / bare.perSecond },
        figures: {
          cells: cellCount,
          bareHandshakesPerSecond: bare.perSecond,
          atOncePerSecond: perSecond,
          atOnceLastMs: first.lastMs,
          backMedianMs: back.medianMs,
          backP99Ms: back.p99Ms,
          backLastMs: back.lastMs,
          refusedTries: back.failures,
          hubCpuMsPerCell: (after?.cpuMs ?? NaN) / cellCount,
          hubPssMb: (after?.pssBytes ?? NaN) / 1e6,
          hubKbPerCell: perCell / 1e3,
        },
        table: [
          row("bare TLS, same certificates, all at once", bare),
          row("hub: link, heartbeat, vector and a batch acknowledged, all at once", first),
          row("hub: the same, killed and away for 12 s", back),
        ],
      };
    } finally {
      await stopHub(dataDir, { clock });
    }
  });
}

type Found = {
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly lastMs: number;
  readonly perSecond: number;
};

const row = (what: string, { medianMs, p99Ms, lastMs, perSecond }: Found) => ({
  what,
  "cells/s": Math.round(perSecond),
  "median ms": Math.round(medianMs),
  "p99 ms": Math.round(p99Ms),
  "last ms": Math.round(lastMs),
});

function found(took: readonly number[]): Found {
  const sorted = ascending(took);
  const lastMs = sorted.at(-1) ?? NaN;
  return {
    medianMs: percentile(sorted, 0.5) ?? NaN,
    p99Ms: percentile(sorted, 0.99) ?? NaN,
    lastMs,
    perSecond: (took.length / lastMs) * 1000,
  };
}

async function all(
  asked: Promise<Met>,
  signal: AbortSignal,
  fromMs?: number,
): Promise<Found & { failures: number }> {
  const { startedMs, doneMs, failures } = await asked;
  signal.throwIfAborted();
  if (doneMs.length !== cellCount) throw new Error(`${doneMs.length} of ${cellCount} cells met`);
  const from = fromMs ?? startedMs;
  return { ...found(doneMs.map((atMs) => Math.max(0, atMs - from))), failures };
}

const portOf = ({ address }: HubInfo) => Number(address.slice(address.lastIndexOf(":") + 1));

/** The ceiling: nothing but the handshakes, in this process and in the cells'. */
async function bareHandshakes(authority: Authority, around: Omit<Around, "hub">): Promise<Found> {
  const subject = spiffeId(authority.trustDomain, "hub", "main");
  const credentials = await authority.issueCredentials(subject);
  const sockets = new Set<TLSSocket>();
  const server = createServer(
    serverTlsOptions({ credentials, trusts: [], requestCert: true, alpn: ["bare"] }),
    (socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.write("1");
    },
  );
  const listening = Promise.withResolvers<void>();
  server.listen({ host, port: 0, backlog: 4096 }, listening.resolve);
  await listening.promise;
  const { port } = server.address() as { readonly port: number };
  await using fleet = startCells();
  try {
    const { startedMs, doneMs } = await fleet.bare({ ...around, hub: { host, port } });
    return found(doneMs.map((atMs) => atMs - startedMs));
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}
