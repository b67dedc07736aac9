/** A thousand cells in one process: each a link of its own, as a node has it, and what a node says first. */
import { connect as connectTls } from "node:tls";
import { connectHub, encodeBatch } from "../../../src/data/index.ts";
import { clientTlsOptions } from "../../../src/identity/index.ts";
import { silentLog } from "../../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../../src/runtime/clock/index.ts";
import { createRouter, dial, type Link } from "../../../src/transport/index.ts";
import { nodeReport } from "../../../test/support/status.ts";
import { serve } from "../commands.ts";
import { readings } from "../readings.ts";
import type { Around, Commands, Met } from "./protocol.ts";

const perBatch = 100;
const deps = {
  clock: systemClock,
  random: systemRandom,
  log: silentLog,
  nowMs: () => systemClock.wallMs(),
};
const report = Buffer.from(JSON.stringify(nodeReport("n1")));
const bodies = readings({ count: perBatch, producers: 1 });
/** Of the agent's own, see `agent/paths/link-path.ts`. */
const backoff = { initialMs: 200, maxMs: 5000 };
const patienceMs = 60_000;

let round: { readonly met: (cell: string) => void; failures: number; contact: number } | undefined;

/** The next hundred entries of a cell, as its node sends them. */
const batchOf = (contact: number): Uint8Array =>
  encodeBatch({
    origin: "n1.bench",
    from: contact * perBatch + 1,
    to: (contact + 1) * perBatch,
    entries: bodies.map((body, at) => {
      const sequence = contact * perBatch + at + 1;
      return {
        stream: "telemetry",
        atMs: 1_700_000_000_000 + sequence,
        key: { producer: "device-0", epoch: 1, sequence },
        body,
        position: { origin: "n1.bench", sequence },
      };
    }),
    policies: { telemetry: { keep: ["cpu", "memory", "disk", "host", "state", "celsius"] } },
  });

async function introduce(cell: string, link: Link): Promise<void> {
  const now = round;
  if (!now) return;
  try {
    await link.request("hub.heartbeat", report, { timeoutMs: patienceMs });
    const hub = connectHub(link);
    await hub.vector({ signal: link.closed });
    await hub.push(batchOf(now.contact), { signal: link.closed });
    now.met(cell);
  } catch {
    // The link ended: another one comes.
    now.failures++;
  }
}

function begin(cells: number, contact: number): Promise<Met> {
  const startedMs = Date.now();
  const done = new Map<string, number>();
  const everybody = Promise.withResolvers<Met>();
  round = {
    failures: 0,
    contact,
    met(cell) {
      done.set(cell, Date.now());
      if (done.size < cells) return;
      everybody.resolve({ startedMs, doneMs: [...done.values()], failures: round?.failures ?? 0 });
    },
  };
  return everybody.promise;
}

let cellsHere = 0;

serve<Commands>({
  async bare({ cells, hub, trust }: Around) {
    const startedMs = Date.now();
    const doneMs = await Promise.all(
      cells.map(async ({ credentials }) => {
        const done = Promise.withResolvers<number>();
        const options = clientTlsOptions({ credentials, trusts: [trust], alpn: ["bare"] });
        const socket = connectTls({ ...hub, ...options });
        socket.on("error", done.reject).once("data", () => {
          done.resolve(Date.now());
          socket.destroy();
        });
        return await done.promise;
      }),
    );
    return { startedMs, doneMs, failures: 0 };
  },
  async connect({ cells, hub, trust }: Around) {
    cellsHere = cells.length;
    const met = begin(cellsHere, 0);
    for (const { name, credentials } of cells) {
      const link = dial(deps, {
        address: hub,
        expect: trust.trustDomain,
        credentials: () => credentials,
        trusts: () => [trust],
        router: createRouter(),
        backoff,
      });
      link.on("up", (up) => void introduce(name, up));
    }
    return await met;
  },
  again: () => begin(cellsHere, 1),
});
