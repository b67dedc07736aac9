/**
 * The cell API as kubectl and controllers use it (HTTPS, client certificate, JSON): get, list of
 * 1,000 pods, and changes told to 200 watchers; against a bare Fastify handler in a process of its
 * own that serves the same bytes over the same TLS. The bare one asks nobody who may do what, knows no
 * objects, and writes its changes nowhere: Skerry's are fsynced before they are told.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BareConfig } from "./support/bare-api.entry.ts";
import {
  inFolder,
  interleave,
  latencyMs,
  throughput,
  type BenchOptions,
  type BenchResult,
} from "./support/bench.ts";
import { preferBuilt, startCell, type Cell } from "./support/cells.ts";
import { openHttps, openWatchers, type Https } from "./support/https.ts";
import { createPeerIdentity } from "./support/peers.ts";
import { startServer } from "./support/servers.ts";

export const about = "get, list and watch of the cell API against bare Fastify with the same bytes";

const pods = 1000;
const watchers = 200;
const gets = 4000;
const lists = 60;
const singles = { gets: 300, lists: 20 };
const changes = 100;
const changesInFlight = 8;
const host = (last: number) => `127.0.72.${last}`;
const podsPath = "/api/v1/namespaces/default/pods";
const bodyOf = (index: number, revision: string) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: `pod-${index}`, labels: { app: "bench" }, annotations: { revision } },
  spec: {
    // No node has this label: the pods stay objects.
    nodeSelector: { bench: "nowhere" },
    containers: [{ name: "main", image: "host", command: ["sleep", "1000000"] }],
  },
});

type Measure = {
  getsPerSecond: number;
  getP50Ms: number;
  listsPerSecond: number;
  listP50Ms: number;
  deliveriesPerSecond: number;
};

/** One of the two servers, by what is asked of it. */
type Api = {
  readonly https: Https;
  readonly object: string;
  readonly list: string;
  readonly watch: string;
  /** Makes one change that every watcher is told of. */
  change(index: number): Promise<unknown>;
};

async function measure(api: Api): Promise<Measure> {
  const { https } = api;
  const get = () => https.get(api.object);
  const list = () => https.get(api.list);
  const getsPerSecond = await throughput({ count: gets, callers: 16 }, get);
  const getP50Ms = await latencyMs(singles.gets, get);
  const listsPerSecond = await throughput({ count: lists, callers: 4 }, list);
  const listP50Ms = await latencyMs(singles.lists, list);
  await using watching = await openWatchers(https, { path: api.watch, count: watchers });
  const startedMs = performance.now();
  await Promise.all([
    watching.frames(changes),
    throughput({ count: changes, callers: changesInFlight }, api.change),
  ]);
  const deliveriesPerSecond = ((changes * watchers) / (performance.now() - startedMs)) * 1000;
  return { getsPerSecond, getP50Ms, listsPerSecond, listP50Ms, deliveriesPerSecond };
}

/** Makes the pods and waits until the scheduler has nothing more to say about them. */
async function fill(https: Https): Promise<void> {
  await throughput({ count: pods, callers: 32 }, (index) =>
    https.send("POST", podsPath, "application/json", bodyOf(index, "0")),
  );
  const untilMs = performance.now() + 60_000;
  for (;;) {
    const { items } = JSON.parse(String(await https.get(podsPath))) as {
      items: { status?: { conditions?: unknown[] } }[];
    };
    const judged = items.filter(({ status }) => (status?.conditions?.length ?? 0) > 0).length;
    if (items.length === pods && judged === pods) return;
    if (performance.now() > untilMs) throw new Error(`${judged} of ${pods} pods were looked at`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function skerryApi(cell: Cell): Promise<Api & AsyncDisposable> {
  const [address = "", port] = new URL(cell.access.server).host.split(":");
  const https = openHttps({ host: address, port: Number(port), ...cell.access });
  // All of one length; a change to what is there already would be none, and told to nobody.
  let revision = 1_000_000;
  return {
    https,
    object: `${podsPath}/pod-0`,
    list: podsPath,
    watch: `${podsPath}?watch=1&sendInitialEvents=false`,
    change: (index) =>
      https.send("PATCH", `${podsPath}/pod-${index}`, "application/merge-patch+json", {
        metadata: { annotations: { revision: String(revision++) } },
      }),
    [Symbol.asyncDispose]: () => https.close(),
  };
}

/** Serves what Skerry answers right now. */
async function bareApi(folder: string, skerry: Api): Promise<Api & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const object = await skerry.https.get(skerry.object);
  const frame = `${JSON.stringify({ type: "MODIFIED", object: JSON.parse(String(object)) as unknown })}\n`;
  const identity = await createPeerIdentity(join(folder, "peers"));
  const at = { host: host(60), port: 7443 };
  const config: BareConfig = {
    ...at,
    tls: identity.files,
    object: object.toString("base64"),
    list: (await skerry.https.get(skerry.list)).toString("base64"),
    frame: Buffer.from(frame).toString("base64"),
  };
  const path = join(folder, "bare.json");
  writeFileSync(path, JSON.stringify(config));
  const entry = join(import.meta.dirname, "support", "bare-api.entry.ts");
  stack.use(await startServer(process.execPath, [entry, path], at));
  const https = openHttps(identity.endpoint(at.host, at.port));
  stack.defer(() => https.close());
  const kept = stack.move();
  return {
    https,
    object: "/object",
    list: "/list",
    watch: "/watch",
    change: () => https.send("POST", "/change", "application/json", {}),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  options.progress(`skerry runs from ${preferBuilt()}/`);
  return await inFolder(async (folder) => {
    await using cell = await startCell({
      folder: join(folder, "cell"),
      cell: "bench-api",
      hosts: [host(61)],
      signal: options.signal,
    });
    await using skerry = await skerryApi(cell);
    options.progress(`making ${pods} pods that fit on no node`);
    await fill(skerry.https);
    await using bare = await bareApi(folder, skerry);
    const measured = await interleave(options, {
      bare: () => measure(bare),
      skerry: () => measure(skerry),
    });
    return report(measured);
  });
}

function report({ bare, skerry }: Readonly<Record<"bare" | "skerry", Measure>>): BenchResult {
  const row = (what: string, measured: Measure) => ({
    what,
    "gets/s (16 callers)": Math.round(measured.getsPerSecond),
    "get p50 ms": Number(measured.getP50Ms.toFixed(3)),
    [`lists of ${pods}/s (4 callers)`]: Number(measured.listsPerSecond.toFixed(1)),
    "list p50 ms": Number(measured.listP50Ms.toFixed(2)),
    [`frames/s to ${watchers} watchers`]: Math.round(measured.deliveriesPerSecond),
  });
  return {
    ratios: {
      "fastify.get": skerry.getsPerSecond / bare.getsPerSecond,
      "fastify.getP50": bare.getP50Ms / skerry.getP50Ms,
      "fastify.list": skerry.listsPerSecond / bare.listsPerSecond,
      "fastify.listP50": bare.listP50Ms / skerry.listP50Ms,
      "fastify.watch": skerry.deliveriesPerSecond / bare.deliveriesPerSecond,
    },
    figures: {
      getsPerSecond: skerry.getsPerSecond,
      getP50Ms: skerry.getP50Ms,
      listsPerSecond: skerry.listsPerSecond,
      list1000P50Ms: skerry.listP50Ms,
      watchFramesPerSecond: skerry.deliveriesPerSecond,
      fastifyGetsPerSecond: bare.getsPerSecond,
      fastifyGetP50Ms: bare.getP50Ms,
      fastifyList1000P50Ms: bare.listP50Ms,
      fastifyWatchFramesPerSecond: bare.deliveriesPerSecond,
    },
    table: [row("bare Fastify, the same bytes", bare), row("Skerry", skerry)],
  };
}
