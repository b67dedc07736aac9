/**
 * `quick`: about a minute. The WAN is cut and healed, an agent is killed, the server's agent restarts,
 * all under load on HTTP and MQTT. What must hold: no acknowledged entry lost or doubled anywhere, no
 * failed idempotent request through a node whose agent lives, pods untouched, the hub caught up.
 */
import { join } from "node:path";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { CellStatus } from "../../api/index.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { seededRandom } from "../../lib/random.ts";
import type { Drill, DrillOptions, DrillReport, FaultRecord } from "../drill.ts";
import type { EntryCheckConfig, EntryCheckResult } from "../checkers/entries.ts";
import type { EntryLoadConfig, EntryLoadResult } from "../load/entries.ts";
import type { RequestLoadConfig, RequestLoadResult } from "../load/requests.ts";
import { deployEcho, waitForEcho } from "../site/echo.ts";
import { startSite, type Site } from "../site/site.ts";
import { startWorker, type Running, type WorkerOptions } from "../site/worker.ts";
import { entriesPerSecond, hubCatchUpMs, judgeQuick, type Outage } from "./quick-verdict.ts";

const deadlineMs = 2000;
/** The minimum of 10,000 requests in a minute, with room for a slow start. */
const requestsPerSecond = 200;
/** After everything was found everywhere: copies that come late are copies all the same. */
const settleMs = 3000;
const podsPatienceMs = 15_000;
const stream = "drill";

export const quick: Drill = {
  name: "quick",
  summary: "WAN cut and healed, an agent killed, the server's agent restarted, under load",
  faults: [
    "cut WAN",
    "heal WAN",
    "kill the agent of n2 or n3",
    "restart the agent of n1 (the server)",
  ],
  cutsLinks: false,
  defaultForMs: 60_000,
  run: runQuick,
};

async function runQuick(options: DrillOptions): Promise<DrillReport> {
  const { clock, progress, signal } = options;
  const random = seededRandom(options.seed);
  mkdirSync(options.dir, { recursive: true });
  const site = await startSite({
    dir: options.dir,
    cell: "drill",
    network: options.network,
    clock,
    signal,
    progress,
  });
  const workers: Running<unknown>[] = [];
  const start = <Config, Result>(entry: string, worker: Omit<WorkerOptions<Config>, "dir">) => {
    const running = startWorker<Config, Result>(entryUrl(import.meta.url, entry), {
      dir: options.dir,
      ...worker,
    });
    workers.push(running);
    return running;
  };
  try {
    progress("deploying the application and the stream");
    await deployEcho(site.cluster, { stream, nodePath: process.execPath });
    await waitForEcho(site, { clock, timeoutMs: 60_000, signal });

    const before = await podsOf(site, options);
    const startedWallMs = clock.wallMs();
    const requests = start<RequestLoadConfig, RequestLoadResult>("../load/requests.entry", {
      name: "requests",
      untilFinished: true,
      config: {
        targets: site.nodes.map((node) => ({
          name: node.node,
          url: `http://${node.ingress}/echo`,
        })),
        perSecond: requestsPerSecond,
        deadlineMs,
        inFlightMax: 1000,
      },
    });
    const acknowledgedPath = join(options.dir, "acknowledged.tsv");
    const entries = start<EntryLoadConfig, EntryLoadResult>("../load/entries.entry", {
      name: "entries",
      untilFinished: true,
      config: {
        seed: options.seed,
        stream,
        nodes: site.nodes.map((node) => ({
          name: node.node,
          gateway: node.gateway,
          mqtt: hostPort(node.mqttPlain),
          token: node.token,
        })),
        perSecond: entriesPerSecond,
        tickMs: 50,
        resendShare: 0.1,
        attemptTimeoutMs: 1000,
        graceMs: 5000,
        acknowledgedPath,
      },
    });
    const checkEntries = (name: string, config: Omit<EntryCheckConfig, "stream">) =>
      start<EntryCheckConfig, EntryCheckResult>("../checkers/entries.entry", {
        name,
        untilFinished: false,
        config: { stream, ...config },
      });
    const faults: FaultRecord[] = [];
    const outages: Outage[] = [];
    const since = () => Math.round(clock.wallMs() - startedWallMs);
    /** Fault times are shares of the run, moved by the seed. */
    const until = async (share: number) => {
      const atMs = options.forMs * (share + (random.float() - 0.5) * 0.04);
      await clock.sleep(Math.max(0, atMs - since()), { signal });
    };

    await until(0.12);
    progress("cutting the WAN");
    site.wan.cut();
    faults.push({ atMs: since(), fault: "cut WAN" });

    await until(0.4);
    const beforeHealPath = join(options.dir, "acknowledged-before-heal.tsv");
    copyLines(acknowledgedPath, beforeHealPath);
    const toHub = { acknowledgedPath: beforeHealPath, views: [hubView(site)] };
    const atCut = await checkEntries("cut", { ...toHub, timeoutMs: 0 }).finish();
    progress("healing the WAN");
    site.wan.heal();
    faults.push({ atMs: since(), fault: "heal WAN" });
    const healed = checkEntries("healed", {
      ...toHub,
      timeoutMs: hubCatchUpMs,
      sinceWallMs: clock.wallMs(),
    });

    await until(0.5);
    const victim = random.integer(2) === 0 ? "n2" : "n3";
    progress(`killing the agent of ${victim}`);
    outages.push({
      atMs: since(),
      ...(await killAgent(site, victim, "SIGKILL", { clock, signal })),
    });

    await until(0.75);
    progress("restarting the agent of n1, the server");
    outages.push({ atMs: since(), ...(await killAgent(site, "n1", "SIGTERM", { clock, signal })) });

    await until(1);
    progress("load ends; waiting for what is in flight");
    const [requestResult, entryResult] = await Promise.all([requests.finish(), entries.finish()]);
    progress("counting acknowledged entries in every store");
    const check = await checkEntries("check", {
      acknowledgedPath,
      views: [...site.nodes.map(nodeView), hubView(site)],
      timeoutMs: hubCatchUpMs,
      settleMs,
    }).finish();
    const atHeal = await healed.finish();
    const after = await podsOf(site, options);

    const { report, remarks } = judgeQuick({
      seed: options.seed,
      forMs: options.forMs,
      nodes: site.nodes.map(({ node }) => node),
      requests: requestResult,
      entries: entryResult,
      atCut,
      atHeal,
      check,
      before,
      after,
      faults,
      outages,
    });
    for (const remark of remarks) progress(remark);
    return report;
  } finally {
    for (const worker of workers) worker.abandon();
    progress("taking the site down");
    await site.close();
  }
}

async function killAgent(
  site: Site,
  node: string,
  how: "SIGKILL" | "SIGTERM",
  deps: Pick<DrillOptions, "clock" | "signal">,
): Promise<Omit<Outage, "atMs">> {
  const { agentPid } = site.nodeInfo(node);
  const fromMs = deps.clock.wallMs();
  process.kill(agentPid, how);
  const giveUpMs = fromMs + 20_000;
  while (site.nodeInfo(node).agentPid === agentPid) {
    if (deps.clock.wallMs() > giveUpMs) {
      throw new SkerryError({
        code: "drill-step-failed",
        message: `the agent of ${node} was not restarted within 20 s`,
      });
    }
    await deps.clock.sleep(20, { signal: deps.signal });
  }
  return {
    node,
    fromMs,
    fault: how === "SIGKILL" ? `kill agent ${node}` : `restart agent ${node}`,
  };
}

/**
 * Pids of every pod's containers by the pod's uid, once every pod's node tells them: of a node that
 * does not answer nothing is known, and nothing must not compare equal to nothing.
 */
async function podsOf(
  site: Site,
  { clock, signal }: Pick<DrillOptions, "clock" | "signal">,
): Promise<Map<string, string>> {
  const giveUpMs = clock.monotonicMs() + podsPatienceMs;
  for (;;) {
    const status = await site.skerry<CellStatus>("n1", ["status"]);
    const own = status.pods.filter((pod) => pod.namespace === "default");
    if (own.length > 0 && own.every(({ pids }) => Object.keys(pids).length > 0))
      return new Map(own.map((pod) => [pod.uid, JSON.stringify(pod.pids)]));
    if (clock.monotonicMs() > giveUpMs)
      throw new SkerryError({
        code: "drill-step-failed",
        message: `status names no pids of ${own.length === 0 ? "any pod" : own.map(({ name }) => name).join(", ")}`,
      });
    await clock.sleep(250, { signal });
  }
}

/** Whole lines only: somebody is writing to it. */
function copyLines(from: string, to: string): void {
  const text = readFileSync(from, "utf8");
  writeFileSync(to, text.slice(0, text.lastIndexOf("\n") + 1));
}

type View = EntryCheckConfig["views"][number];

const nodeView = (node: Site["nodes"][number]): View => ({
  name: node.node,
  url: node.gateway,
  token: node.token,
});

/** Not through the link that is cut. */
const hubView = ({ hubAccess }: Site): View => ({
  name: "hub",
  url: hubAccess.server,
  query: { cell: "drill" },
  tls: {
    key: hubAccess.keyPem,
    cert: hubAccess.chainPem,
    ca: hubAccess.anchorsPem.join("\n"),
    servername: hubAccess.serverName,
  },
});

function hostPort(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
}
