/** The demo's site: which folders and addresses, in what order it starts, when it is ready, how it ends. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { agentConfigSchema, findEtcd, startNode, stopNode } from "../agent/index.ts";
import { isNodeFolder } from "../runtime/local/index.ts";
import { applyExample, applyStream, exampleStream } from "../client/index.ts";
import type { CellStatus, FleetStatus, ServersView } from "../api/index.ts";
import { explain, SkerryError } from "../lib/errors.ts";
import { hubConfigSchema, startHub, stopHub } from "../hub/index.ts";
import type { Context } from "./context.ts";
import { changeServers, serversPath } from "./server-changes.ts";
import { callJson, createJoinToken, openCluster, openLocalApi, withAdminApi } from "./local-api.ts";

export type DemoSite = {
  readonly dir: string;
  readonly hub: { readonly dataDir: string; readonly host: string };
  readonly nodes: readonly {
    readonly name: string;
    readonly dataDir: string;
    readonly host: string;
  }[];
};

const cell = "demo";
const readyTimeoutMs = 60_000;
const tokenTtlMs = 600_000;

export function demoSite(dir: string): DemoSite {
  return {
    dir,
    hub: { dataDir: join(dir, "hub"), host: "127.0.0.10" },
    nodes: ["n1", "n2", "n3"].map((name, index) => ({
      name,
      dataDir: join(dir, name),
      host: `127.0.0.${11 + index}`,
    })),
  };
}

/** Starts what does not run yet; what runs is adopted. */
export async function startDemoSite(
  site: DemoSite,
  context: Context,
  stop: AbortSignal,
): Promise<void> {
  const { output, clock, random } = context;
  const [first, ...others] = site.nodes;
  if (!first) return;
  const progress = (text: string) => output.note(text);
  const start = (node: (typeof site.nodes)[number], more: Record<string, string>) =>
    startNode(
      agentConfigSchema.parse({
        dataDir: node.dataDir,
        node: node.name,
        host: node.host,
        mqttPlainPort: 1883,
        ...more,
      }),
      { clock, random, progress },
    );

  output.note("starting the hub on 127.0.0.10");
  const hub = await startHub(
    hubConfigSchema.parse({ dataDir: site.hub.dataDir, host: site.hub.host }),
    { clock },
  );
  stop.throwIfAborted();
  output.note("starting n1, the cell's first server, on 127.0.0.11");
  const fresh = !isNodeFolder(first.dataDir);
  const server = await start(
    first,
    fresh
      ? {
          cell,
          hub: hub.address,
          hubToken: await createJoinToken(site.hub.dataDir, { name: cell, ttlMs: tokenTtlMs }),
        }
      : {},
  );
  stop.throwIfAborted();
  output.note("starting n2 and n3 on 127.0.0.12 and 127.0.0.13");
  await Promise.all(
    others.map(async (node) => {
      const join_: Record<string, string> = isNodeFolder(node.dataDir)
        ? {}
        : {
            join: await createJoinToken(first.dataDir, { name: node.name, ttlMs: tokenTtlMs }),
            server: server.peers,
          };
      await start(node, join_);
    }),
  );
  stop.throwIfAborted();
  output.note("deploying the example application and the telemetry stream");
  // Of several servers the first one is up before the others are: nothing can be written until then. And
  // a majority that answered a moment ago may be looking for its leader again: to deploy twice does no harm.
  const undeployed = async () =>
    (await missingQuorum(first.dataDir)) ?? (await deploy(first.dataDir));
  await waitUntilNothing(undeployed, site, context, stop);
  stop.throwIfAborted();
  await waitUntilNothing(
    async () => missingNode(site, await cellStatus(site, context)),
    site,
    context,
    stop,
  );
  await growServers(first.dataDir, others, context);
}

/** Three servers where etcd is installed, so that any one node may be lost; else one, and why. */
async function growServers(
  dataDir: string,
  others: DemoSite["nodes"],
  context: Context,
): Promise<void> {
  const version = await findEtcd(context.env["PATH"] ?? "");
  if (version === undefined) {
    context.output.note(
      "one server: etcd is not installed, so that desired state cannot be changed while n1 is down (apt-get install etcd-server, then start again)",
    );
    return;
  }
  await withAdminApi(dataDir, async (api) => {
    const { servers } = await callJson<ServersView>(api, serversPath);
    const missing = others.filter(({ name }) => !servers.some((server) => server.name === name));
    if (missing.length > 0) context.output.note(`three servers: etcd ${version} is installed`);
    const changes = missing.map(({ name }) => ({ verb: "add" as const, node: name }));
    await changeServers(api, changes, context);
  });
}

async function deploy(serverDir: string): Promise<undefined> {
  const { cluster, close } = openCluster(serverDir);
  try {
    // What may leave is named field by field; the rest of the telemetry stays in the cell.
    await applyStream(
      cluster,
      exampleStream(
        "telemetry",
        ["cpuPercent", "memoryUsedPercent", "diskWriteMs", "fsyncMs", "pressureIoPercent", "load1"],
        "the nodes' own measurements",
      ),
    );
    await applyExample(cluster, {
      name: "hello",
      replicas: 3,
      port: 18_000,
      nodePath: process.execPath,
    });
    return undefined;
  } finally {
    await close();
  }
}

/** Ready: three nodes alive, three pods ready, telemetry at the hub. */
export function waitForDemo(site: DemoSite, context: Context, stop: AbortSignal): Promise<void> {
  return waitUntilNothing(() => whatIsMissing(site, context), site, context, stop);
}

/** Resolves when nothing is missing any more; says meanwhile what is. Throws `demo-not-ready`. */
async function waitUntilNothing(
  missing: () => Promise<string | undefined>,
  site: DemoSite,
  { clock, output }: Context,
  stop: AbortSignal,
): Promise<void> {
  const giveUpMs = clock.monotonicMs() + readyTimeoutMs;
  for (;;) {
    const what = await missing().catch(explain);
    if (what === undefined) return;
    if (clock.monotonicMs() > giveUpMs) {
      throw new SkerryError({
        code: "demo-not-ready",
        message: `not ready after ${readyTimeoutMs / 1000} s: ${what}`,
        hint: `logs: ${site.dir}/*/logs; start afresh with: skerry demo --clean`,
      });
    }
    output.progress(`waiting: ${what}`);
    await clock.sleep(250, { signal: stop });
  }
}

async function missingQuorum(dataDir: string): Promise<string | undefined> {
  const { quorum } = await withAdminApi(dataDir, (api) => callJson<ServersView>(api, serversPath));
  return quorum === "lost" ? "no majority of the servers has answered" : undefined;
}

/** A node that joined is one of the cell's once its agent has said so. */
function missingNode({ nodes }: DemoSite, status: CellStatus): string | undefined {
  const silent = status.nodes
    .filter((node) => node.verdict.state !== "alive")
    .map(({ name }) => name);
  if (status.nodes.length < nodes.length)
    return `${status.nodes.length} of ${nodes.length} nodes have registered`;
  return silent.length > 0 ? `no heartbeat from ${silent.join(", ")} yet` : undefined;
}

async function whatIsMissing(site: DemoSite, context: Context): Promise<string | undefined> {
  try {
    const status = await cellStatus(site, context);
    const absent = missingNode(site, status);
    if (absent !== undefined) return absent;
    // By the nodes that run them: what the API says may be from before the last stop.
    const ready = status.pods.filter(
      (pod) => pod.name.startsWith("hello-") && pod.ready && Object.keys(pod.pids).length > 0,
    ).length;
    const desired = status.workloads.find(({ name }) => name === "hello")?.desired ?? 3;
    if (ready < desired) return `${ready} of ${desired} pods ready`;
    const fleet = await fleetStatus(site, context);
    const arrived = fleet.cells
      .flatMap(({ streams }) => streams)
      .some(({ name, entries }) => name === "telemetry" && entries > 0);
    return arrived ? undefined : "no telemetry at the hub yet";
  } catch (error) {
    return explain(error);
  }
}

/** One line of facts for `--json`. */
export async function summarize(site: DemoSite, context: Context): Promise<object> {
  const [cellNow, fleet] = [await cellStatus(site, context), await fleetStatus(site, context)];
  const streams = cellNow.nodes[0]?.report?.streams ?? [];
  return {
    demo: cell,
    ok: (await whatIsMissing(site, context)) === undefined,
    servers: cellNow.nodes.filter(({ role }) => role === "server").length,
    nodesAlive: cellNow.nodes.filter((node) => node.verdict.state === "alive").length,
    podsReady: cellNow.pods.filter(({ ready }) => ready).length,
    entriesInCell: streams.reduce((sum, { entries }) => sum + entries, 0),
    entriesAtHub: fleet.cells
      .flatMap((one) => one.streams)
      .reduce((sum, { entries }) => sum + entries, 0),
    agentMemoryMb: cellNow.nodes.map(({ report }) => Math.round((report?.memoryBytes ?? 0) / 1e6)),
  };
}

async function cellStatus(site: DemoSite, context: Context): Promise<CellStatus> {
  const api = await openLocalApi(site.nodes[0]?.dataDir ?? site.dir, context);
  try {
    return await callJson<CellStatus>(api, "/v1/status");
  } finally {
    await api.close();
  }
}

async function fleetStatus(site: DemoSite, context: Context): Promise<FleetStatus> {
  const api = await openLocalApi(site.hub.dataDir, context);
  try {
    return await callJson<FleetStatus>(api, "/v1/status");
  } finally {
    await api.close();
  }
}

/** How many of its parts were running. Nodes that are not servers go first, the hub last. */
export async function stopDemoSite(site: DemoSite, context: Context): Promise<number> {
  const { clock, random } = context;
  const [first, ...others] = site.nodes;
  const stop = async (dataDir: string) =>
    existsSync(dataDir) && (await stopNode(dataDir, { clock, random, pods: "stop" }));
  const stopped = await Promise.all(others.map((node) => stop(node.dataDir)));
  if (first) stopped.push(await stop(first.dataDir));
  if (existsSync(site.hub.dataDir)) stopped.push(await stopHub(site.hub.dataDir, { clock }));
  return stopped.filter(Boolean).length;
}
