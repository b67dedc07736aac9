/**
 * What every drill plays on: a site with the example application and its load, a clock whose times
 * come from the seed, and a count of every store at the end. Whatever happens, the site is taken down.
 */
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nodeKind } from "../../api/index.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import type { Random } from "../../lib/random.ts";
import { seededRandom } from "../../lib/random.ts";
import type { DrillOptions, FaultRecord } from "../drill.ts";
import type { EntryCheckConfig, EntryCheckResult } from "../checkers/entries.ts";
import type { View } from "../checkers/view.ts";
import type { EntryLoadConfig, EntryLoadResult } from "../load/entries.ts";
import type { RequestLoadConfig, RequestLoadResult } from "../load/requests.ts";
import { deployEcho, waitForEcho } from "../site/echo.ts";
import { startSite, type Site, type SiteOptions } from "../site/site.ts";
import { startWorker, type Running, type WorkerOptions } from "../site/worker.ts";
import { waitUntil, waitWhole } from "../site/whole.ts";
import { entriesPerSecond, hubCatchUpMs, type Outage, type Seen } from "./verdict.ts";

const deadlineMs = 2000;
/** The minimum of 10,000 requests in a minute, with room for a slow start. */
const requestsPerSecond = 200;
/** How often each ingress is asked after the last machine was given back, before the load may end. */
const askedAfterReturn = 10;
/** After everything was found everywhere: copies that come late are copies all the same. */
const settleMs = 3000;
/** How long the load grows, and of a short run no more than this share. */
const rampMs = 5000;
const rampShareMax = 0.08;
/** What the load writes to. */
export const streamName = "drill";
/** On a machine with other work to do, all of it takes longer. */
const readyTimeoutMs = 60_000;
const readyFactorMax = 4;

export type Stage = DrillOptions & {
  readonly site: Site;
  /** All that is left to chance comes from here. */
  readonly dice: Random;
  readonly faults: FaultRecord[];
  readonly outages: Outage[];
  /** Since the load began. */
  since(): number;
  /** A share of the run, moved a little by the seed; at once when it has passed. */
  until(share: number): Promise<void>;
  /** The keys acknowledged from `fromByte` on, whole lines only, in a file of their own. */
  copyAcknowledged(name: string, fromByte?: number): string;
  /** How long that file is now. */
  acknowledgedBytes(): number;
  startCheck(
    name: string,
    config: Omit<EntryCheckConfig, "stream" | "views"> & { readonly views: readonly string[] },
  ): Running<EntryCheckResult>;
  /** Ends the load, then counts what was acknowledged in every store. */
  finish(): Promise<Seen & { readonly entries: EntryLoadResult }>;
};

export type StageOptions = DrillOptions &
  Pick<SiteOptions, "env" | "firstNodeFlags" | "hubFlags" | "servers" | "startedBy"> & {
    /** Of the stream that the load writes to; default `local`. */
    readonly durability?: string;
  };

export async function withStage<Result>(
  options: StageOptions,
  play: (stage: Stage) => Promise<Result>,
): Promise<Result> {
  const { clock, progress, signal } = options;
  const dice = seededRandom(options.seed);
  mkdirSync(options.dir, { recursive: true });
  const site = await startSite({ ...options, cell: "drill" });
  const workers: Running<unknown>[] = [];
  const start = <Config, Outcome>(entry: string, worker: Omit<WorkerOptions<Config>, "dir">) => {
    const running = startWorker<Config, Outcome>(entryUrl(import.meta.url, entry), {
      dir: options.dir,
      ...worker,
    });
    workers.push(running);
    return running;
  };
  try {
    progress("deploying the application and the stream");
    await deployOffServer(site, options.durability);
    const timeoutMs = readyTimeoutMs * Math.min(options.slowness, readyFactorMax);
    await waitForEcho(site, { clock, timeoutMs, signal });
    await cordon(site, "n1", false);
    await waitWhole(site, { clock, timeoutMs, signal });

    const acknowledgedPath = join(options.dir, "acknowledged.tsv");
    const requests = start<RequestLoadConfig, RequestLoadResult>("../load/requests.entry", {
      name: "requests",
      untilFinished: true,
      config: requestLoad(site, options),
    });
    const entries = start<EntryLoadConfig, EntryLoadResult>("../load/entries.entry", {
      name: "entries",
      untilFinished: true,
      config: entryLoad(site, options, acknowledgedPath),
    });
    const acknowledgedBytes = () =>
      statSync(acknowledgedPath, { throwIfNoEntry: false })?.size ?? 0;
    await waitUntil(
      "the first acknowledged entry",
      async () =>
        acknowledgedBytes() > 0 ? { found: undefined } : { missing: "nothing acknowledged" },
      { clock, timeoutMs, signal },
    );
    const startedWallMs = clock.wallMs();
    const since = () => Math.round(clock.wallMs() - startedWallMs);
    const startCheck: Stage["startCheck"] = (name, config) =>
      start<EntryCheckConfig, EntryCheckResult>("../checkers/entries.entry", {
        name,
        untilFinished: false,
        config: {
          stream: streamName,
          ...config,
          views: config.views.map((view) => viewOf(site, view)),
        },
      });
    const faults: FaultRecord[] = [];
    const outages: Outage[] = [];
    const nodes = site.nodes.map(({ node }) => node);
    return await play({
      ...options,
      site,
      dice,
      faults,
      outages,
      since,
      async until(share) {
        const atMs = options.forMs * (share + (dice.float() - 0.5) * 0.02);
        await clock.sleep(Math.max(0, atMs - since()), { signal });
      },
      acknowledgedBytes,
      copyAcknowledged(name, fromByte = 0) {
        const path = join(options.dir, `acknowledged-${name}.tsv`);
        const text = readFileSync(acknowledgedPath).subarray(fromByte).toString();
        // Somebody is writing to it: the last line may be half a one.
        writeFileSync(path, text.slice(0, text.lastIndexOf("\n") + 1));
        return path;
      },
      startCheck,
      async finish() {
        const returnedMs = Math.max(...outages.map((outage) => outage.returnedMs ?? outage.fromMs));
        const askedMs =
          (askedAfterReturn * nodes.length * 1000) / requestLoad(site, options).perSecond;
        await clock.sleep(Math.max(0, returnedMs + askedMs - clock.wallMs()), { signal });
        progress("load ends; waiting for what is in flight");
        const [requestResult, entryResult] = await Promise.all([
          requests.finish(),
          entries.finish(),
        ]);
        progress("counting acknowledged entries in every store");
        const check = await startCheck("check", {
          acknowledgedPath,
          views: [...nodes, "hub"],
          timeoutMs: hubCatchUpMs * options.slowness,
          settleMs,
        }).finish();
        return {
          seed: options.seed,
          forMs: options.forMs,
          slowness: options.slowness,
          nodes,
          requests: requestResult,
          entries: entryResult,
          check,
          faults,
          outages,
        };
      },
    });
  } finally {
    for (const worker of workers) worker.abandon();
    progress("taking the site down");
    await site.close();
  }
}

/** The pods start where machines will be lost, so that every loss takes one away. */
async function deployOffServer(site: Site, durability?: string): Promise<void> {
  await cordon(site, "n1", true);
  await deployEcho(site.cluster, {
    stream: streamName,
    nodePath: process.execPath,
    ...(durability === undefined ? {} : { durability }),
  });
}

export async function cordon(site: Site, node: string, unschedulable: boolean): Promise<void> {
  await site.cluster.apply(nodeKind, {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: node },
    spec: { unschedulable },
  });
}

const rampOf = ({ slowness, forMs }: DrillOptions) =>
  Math.min(rampMs * slowness, forMs * rampShareMax);

function requestLoad(site: Site, options: DrillOptions): RequestLoadConfig {
  const { slowness } = options;
  return {
    rampMs: rampOf(options),
    targets: site.nodes.map(({ node, ingress }) => ({
      name: node,
      url: `http://${ingress}/echo`,
    })),
    methods: ["GET", "GET", "GET", "PUT"],
    perSecond: requestsPerSecond / slowness,
    deadlineMs: deadlineMs * slowness,
    inFlightMax: 1000,
  };
}

function entryLoad(site: Site, options: DrillOptions, acknowledgedPath: string): EntryLoadConfig {
  const { seed, slowness } = options;
  return {
    rampMs: rampOf(options),
    seed,
    acknowledgedPath,
    stream: streamName,
    nodes: site.nodes.map((node) => ({
      name: node.node,
      gateway: node.gateway,
      mqtt: hostPort(node.mqttPlain),
      token: node.token,
    })),
    perSecond: entriesPerSecond / slowness,
    tickMs: 50,
    resendShare: 0.1,
    attemptTimeoutMs: 1000 * slowness,
    graceMs: 5000 * slowness,
  };
}

/** A node's store, or the "hub"'s. */
export function viewOf(site: Site, name: string): View {
  if (name !== "hub") {
    const node = site.nodes.find((one) => one.node === name);
    return { name, url: node?.gateway ?? "", ...(node ? { token: node.token } : {}) };
  }
  // Not through the link that is cut.
  const { server, keyPem, chainPem, anchorsPem, serverName } = site.hubAccess;
  return {
    name,
    url: server,
    query: { cell: "drill" },
    tls: { key: keyPem, cert: chainPem, ca: anchorsPem.join("\n"), servername: serverName },
  };
}

function hostPort(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
}
