/**
 * What a node weighs: memory (PSS) of keeper, agent and the pods' shims, from `dist/`, on a server and
 * on a node that is none, with 10 pods each after 10 minutes; what each further pod and object adds;
 * processor and disk while nothing happens; bytes written for an entry. Beside it a bare Node process of
 * the same run, the least that anything on this platform weighs.
 *
 * PSS counts a page by the share of those who map it: other Node processes on the machine make all of
 * them lighter. `alone` is the same without that: own memory, and every page of the binary in full.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { weigh } from "../src/drill/scripts/soak-sample.ts";
import {
  CannotRun,
  inFolder,
  median,
  type BenchOptions,
  type BenchResult,
} from "./support/bench.ts";
import { declareStream, preferBuilt, startCell, type Cell } from "./support/cells.ts";
import { weighNode, type NodeWeight } from "./support/weights.ts";

export const about = "memory, processor and disk of a server and a node, idle, with 10 pods each";

const forMsDefault = 600_000;
const podsEach = 10;
const objects = 10_000;
const batches = { count: 200, entries: 50 };
const singles = 200;
const entryBody = `{"cpu":12.5,"memory":123456789,"note":"about as long as a reading is"}`;
const MB = 1e6;

type Weights = { readonly server: NodeWeight; readonly worker: NodeWeight };
type Both = { readonly server: number; readonly worker: number };

export async function run(options: BenchOptions): Promise<BenchResult> {
  const { signal, progress } = options;
  const forMs = options.forMs ?? forMsDefault;
  if (preferBuilt() !== "dist")
    throw new CannotRun("dist/ is missing or older than src/; build it with: npm run build");
  return await inFolder(async (folder) => {
    await using bare = startBareNode();
    const hosts = ["127.0.77.11", "127.0.77.12"];
    await using cell = await startCell({ folder, cell: "weight", hosts, flags: [], signal });
    const [server = "", worker = ""] = cell.nodes.map(({ dataDir }) => dataDir);
    const now = (): Weights => ({ server: weighNode(server), worker: weighNode(worker) });
    /** Medians of some seconds: a collection in this moment is nobody's weight. */
    const settled = async () => {
      const samples: Weights[] = [];
      for (let i = 0; i < Math.max(options.rounds, 5); i++) {
        await sleep(2000, undefined, { signal });
        samples.push(now());
      }
      return (field: keyof NodeWeight): Both => ({
        server: median(samples.map((sample) => sample.server[field])),
        worker: median(samples.map((sample) => sample.worker[field])),
      });
    };

    progress("an empty node settles");
    await sleep(forMs * 0.1, undefined, { signal });
    const empty = await settled();
    progress(`${podsEach} pods on each node`);
    await deploy(cell, signal);
    progress("idle");
    await sleep(forMs * 0.3, undefined, { signal });
    const [idleFrom, idleFromMs] = [now(), performance.now()];
    await sleep(forMs * 0.6, undefined, { signal });
    const [idleTo, idleMs] = [now(), performance.now() - idleFromMs];
    const loaded = await settled();
    const barePss = weigh(bare.pid)?.pssBytes ?? Number.NaN;

    progress("entries");
    await declareStream(cell, { name: "weight", durability: "local" });
    const perEntry = await bytesPerEntry(cell, now);
    progress(`${objects} objects`);
    // What a heap grew by for the work itself goes back in calm, and is not weighed.
    const calm = () => sleep(forMs * 0.2, undefined, { signal });
    await calm();
    const before = await settled();
    await createObjects(cell, signal);
    await calm();
    const full = await settled();

    const between = (from: Weights, to: Weights, field: "cpuMs" | "writtenBytes"): Both => ({
      server: to.server[field] - from.server[field],
      worker: to.worker[field] - from.worker[field],
    });
    const per = ({ server, worker }: Both, divisor: number): Both => ({
      server: server / divisor,
      worker: worker / divisor,
    });
    const less = (a: Both, b: Both): Both => ({
      server: a.server - b.server,
      worker: a.worker - b.worker,
    });
    const rows: readonly (readonly [string, string, Both])[] = [
      ["PssMb", "PSS with 10 pods, MB (aim: below 120)", per(loaded("pssBytes"), MB)],
      ["AgentPssMb", "… of the agent", per(loaded("agentPssBytes"), MB)],
      ["KeeperPssMb", "… of the keeper", per(loaded("keeperPssBytes"), MB)],
      ["ShimsPssMb", "… of 10 shims", per(loaded("shimsPssBytes"), MB)],
      ["OwnMb", "own memory (no file behind it), MB", per(loaded("anonymousBytes"), MB)],
      ["AloneMb", "were it the only Node on its machine, MB", per(loaded("aloneBytes"), MB)],
      [
        "PodPssMb",
        "each further pod, MB",
        per(less(loaded("pssBytes"), empty("pssBytes")), podsEach * MB),
      ],
      [
        "ObjectsPssMb",
        "10,000 further objects, MB",
        per(less(full("pssBytes"), before("pssBytes")), MB),
      ],
      [
        "IdleCpuPercent",
        "idle, % of a core (aim: below 2)",
        per(between(idleFrom, idleTo, "cpuMs"), idleMs / 100),
      ],
      [
        "IdleHourMb",
        "written in an idle hour, MB",
        per(between(idleFrom, idleTo, "writtenBytes"), (idleMs / 3_600_000) * MB),
      ],
      ["Threads", "threads, shims included", loaded("threads")],
    ];
    return {
      ratios: {
        "bareNode.serverPss": barePss / loaded("pssBytes").server,
        "bareNode.workerPss": barePss / loaded("pssBytes").worker,
      },
      figures: {
        ...Object.fromEntries(
          rows.flatMap(([key, , both]) => [
            [`server${key}`, both.server],
            [`worker${key}`, both.worker],
          ]),
        ),
        bareNodePssMb: barePss / MB,
        batchedEntryBytes: perEntry.batched,
        singleEntryBytes: perEntry.single,
      },
      table: [
        ...rows.map(([, what, { server, worker }]) => ({
          what,
          server: Number(server.toFixed(2)),
          worker: Number(worker.toFixed(2)),
        })),
        {
          what: "a bare Node process, PSS, MB",
          server: Number((barePss / MB).toFixed(2)),
          worker: "",
        },
        {
          what: `written for an entry of ${entryBody.length} bytes, ${batches.entries} a request`,
          server: Math.round(perEntry.batched),
          worker: "",
        },
        {
          what: "written for an entry that comes alone",
          server: Math.round(perEntry.single),
          worker: "",
        },
      ],
    };
  });
}

function startBareNode(): AsyncDisposable & { readonly pid: number } {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1 << 30)"], {
    stdio: "ignore",
  });
  return {
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    },
  };
}

async function send(cell: Cell, path: string, body: unknown): Promise<void> {
  const answer = await cell.fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`POST ${path}: ${answer.status} ${text}`);
}

/** Ten pods that do nothing on each node, whatever the scheduler would rather do. */
async function deploy(cell: Cell, signal: AbortSignal): Promise<void> {
  for (const { node } of cell.nodes) {
    const labels = { app: `idle-${node}` };
    await send(cell, "/apis/apps/v1/namespaces/default/deployments", {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: labels.app },
      spec: {
        replicas: podsEach,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            nodeSelector: { "kubernetes.io/hostname": node },
            containers: [{ name: "idle", image: "host", command: ["sleep", "1000000"] }],
          },
        },
      },
    });
  }
  const untilMs = performance.now() + 120_000;
  for (;;) {
    const list = await cell.fetch("/apis/apps/v1/namespaces/default/deployments");
    const { items } = (await list.json()) as {
      items: readonly { status?: { readyReplicas?: number } }[];
    };
    const ready = items.map(({ status }) => status?.readyReplicas ?? 0);
    if (ready.length === cell.nodes.length && ready.every((count) => count === podsEach)) return;
    if (performance.now() > untilMs)
      throw new Error(`pods ready on each node: ${ready.join(", ")}`);
    await sleep(500, undefined, { signal });
  }
}

/** What the accepting node writes, its log and its table included. */
async function bytesPerEntry(
  cell: Cell,
  now: () => Weights,
): Promise<{ batched: number; single: number }> {
  const post = async (count: number) => {
    const answer = await fetch(`${cell.nodes[0]?.gateway}/v1/streams/weight/entries`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${cell.token}`,
        "content-type": "application/x-ndjson",
      },
      body: `${entryBody}\n`.repeat(count),
    });
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(`entries: ${answer.status} ${text}`);
  };
  const written = async (requests: number, entries: number) => {
    const from = now().server.writtenBytes;
    for (let i = 0; i < requests; i++) await post(entries);
    return (now().server.writtenBytes - from) / (requests * entries);
  };
  const batched = await written(batches.count, batches.entries);
  return { batched, single: await written(singles, 1) };
}

async function createObjects(cell: Cell, signal: AbortSignal): Promise<void> {
  let next = 0;
  const creator = async () => {
    while (next < objects) {
      signal.throwIfAborted();
      const name = `object-${next++}`;
      await send(cell, "/api/v1/namespaces/default/configmaps", {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name },
        data: { key: `value of ${name}`, more: "as much as a small setting takes, and no more" },
      });
    }
  };
  await Promise.all(Array.from({ length: 16 }, creator));
}
