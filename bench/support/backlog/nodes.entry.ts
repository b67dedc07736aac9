/** The nodes of a cell that were offline: each a link of its own, with all that it kept packed beforehand. */
import { connectHub, encodeBatch } from "../../../src/data/index.ts";
import { silentLog } from "../../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../../src/runtime/clock/index.ts";
import { createRouter, dial, type Link } from "../../../src/transport/index.ts";
import { serve } from "../commands.ts";
import { readings } from "../readings.ts";
import type { Commands, Packing, Sending } from "./protocol.ts";

const startMs = 1_700_000_000_000;
/** Bodies that repeat after so many: making a million different ones would take longer than the bench. */
const differentBodies = 50_000;
const producers = 20;
const policies = {
  readings: { keep: ["cpu", "memory", "disk", "host", "state", "celsius"] },
  short: { keep: ["site", "value", "n", "state"] },
};

let packed: readonly (readonly Uint8Array[])[] = [];

function short(count: number): Buffer[] {
  return Array.from({ length: count }, (_, n) => {
    const value = ((n * 2_654_435_761) % 1_000_003) / 997;
    const line = `{"site":"line-${n % 7}","value":${value.toFixed(4)},"n":${n},"state":"running"}`;
    return Buffer.from(line);
  });
}

function packNode(node: number, bodies: readonly Buffer[], packing: Packing): Uint8Array[] {
  const { shape, batchesPerNode, entriesPerBatch } = packing;
  const origin = `n${node + 1}.bench`;
  return Array.from({ length: batchesPerNode }, (_, batch) => {
    const from = batch * entriesPerBatch + 1;
    const entries = Array.from({ length: entriesPerBatch }, (__, index) => {
      const sequence = from + index;
      const key = {
        producer: `${origin}-${sequence % producers}`,
        epoch: 1,
        sequence: Math.ceil(sequence / producers),
      };
      return {
        stream: "backlog",
        atMs: startMs + Math.floor(sequence / 10),
        ...(shape === "readings" ? { key } : {}),
        body: bodies[sequence % bodies.length] as Buffer,
        position: { origin, sequence },
      };
    });
    return encodeBatch({
      origin,
      from,
      to: from + entriesPerBatch - 1,
      entries,
      policies: { backlog: policies[shape] },
    });
  });
}

async function linked(index: number, { hub, trust, credentials }: Sending) {
  const up = Promise.withResolvers<Link>();
  const dialled = dial(
    {
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      nowMs: () => systemClock.wallMs(),
    },
    {
      address: hub,
      expect: trust.trustDomain,
      credentials: () => credentials[index] as Sending["credentials"][number],
      trusts: () => [trust],
      router: createRouter(),
      backoff: { initialMs: 200, maxMs: 5000 },
    },
  );
  dialled.on("up", up.resolve);
  return { link: await up.promise, close: () => dialled.close() };
}

async function push(
  link: Link,
  batches: readonly Uint8Array[],
  windowBatches: number,
): Promise<void> {
  const hub = connectHub(link);
  await hub.vector({ signal: link.closed });
  let next = 0;
  const lane = async () => {
    while (next < batches.length)
      await hub.push(batches[next++] as Uint8Array, { signal: link.closed });
  };
  await Promise.all(Array.from({ length: windowBatches }, lane));
}

serve<Commands>({
  async pack(packing) {
    const bodies =
      packing.shape === "short"
        ? short(differentBodies)
        : readings({ count: differentBodies, producers });
    packed = Array.from({ length: packing.nodes }, (_, node) => packNode(node, bodies, packing));
    const packedBytes = packed.flat().reduce((sum, batch) => sum + batch.length, 0);
    const bodyBytes = bodies.reduce((sum, body) => sum + body.length, 0) / bodies.length;
    return { packedBytes, bodyBytes };
  },
  async send(sending) {
    const links = await Promise.all(packed.map((_, index) => linked(index, sending)));
    const startedMs = performance.now();
    await Promise.all(
      links.map(({ link }, index) => push(link, packed[index] ?? [], sending.windowBatches)),
    );
    const tookMs = performance.now() - startedMs;
    const [{ link } = { link: undefined }] = links;
    const vector = link ? await connectHub(link).vector({ signal: link.closed }) : {};
    await Promise.all(links.map((one) => one.close()));
    return { tookMs, arrived: Object.values(vector).reduce((sum, top) => sum + top, 0) };
  },
});
