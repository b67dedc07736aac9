/**
 * The way of a disk's slowness: etcd's figures and this server's disk → the ledger → whoever decides →
 * the member's timers, by a restart when its turn comes; and on to people, as words and metrics.
 */
import type { LedgerTimersView } from "../../api/index.ts";
import type { MountedRoute } from "../../apiserver/index.ts";
import { ledgerServerName } from "../../identity/index.ts";
import {
  createTimersBook,
  defaultTimers,
  ledgerFolder,
  probeFsync,
  restartSafely,
  startTimers,
  type EtcdTimers,
  type TimedMember,
  type Timers,
} from "../../ledger/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import { tlsGetText } from "../../runtime/tls-get/index.ts";
import { readEtcdCredentials } from "../etcd-files.ts";
import type { Ground } from "../ground.ts";
import { timersView } from "../timer-words.ts";
import type { LedgerPath } from "./ledger-path.ts";

export type TimersPath = { readonly routes: readonly MountedRoute[] };

const prefix = "/skerry/v1/ledger-timers";
const metricsTimeoutMs = 5_000;
const metricsBytesMax = 4 * 1024 * 1024;

export async function startTimersPath(
  ground: Ground,
  deps: { ledger: LedgerPath; trustDomain: string },
): Promise<TimersPath> {
  const { clock, log, lifecycle, dataDir, record: node } = ground;
  const { ledger } = deps;
  const { ledger: shared } = ledger;
  if (!shared) return { routes: [] };
  const stopping = new AbortController();

  const member: TimedMember = {
    metrics() {
      const { keyPem, certPem, caPem } = readEtcdCredentials(dataDir);
      const port = ledger.record()?.clientPort ?? 0;
      const serverName = ledgerServerName(deps.trustDomain);
      return tlsGetText(
        { host: node.host, port, path: "/metrics", serverName, keyPem, certPem, caPem },
        { timeoutMs: metricsTimeoutMs, bytesMax: metricsBytesMax },
      );
    },
    running: () => runningTimers(ledger),
    memberId: () => ledger.memberId(),
    async cluster() {
      const statuses = (await ledger.cluster()?.status()) ?? [];
      const leader = statuses.find((one) => one.state === "answers" && one.leaderId === one.id);
      return { members: statuses.map(({ name }) => name), leader: leader?.name };
    },
    async restart(timers) {
      const [engine, supervisor] = [ledger.engine(), ledger.supervisor()];
      if (!engine || !supervisor) return;
      const restart = async () => {
        ledger.keepTimers(timers);
        await supervisor.restart();
      };
      const { signal } = stopping;
      await restartSafely(
        { clock, log },
        { ledger: engine, supervisor: { restart }, name: node.node, signal },
      );
    },
  };

  let probeP99Ms: number | undefined;
  if (ledger.record())
    void probeFsync({ clock }, ledgerFolder(dataDir)).then(
      ({ p99Ms }) => (probeP99Ms = p99Ms),
      (error: unknown) => log.warn("the ledger's disk was not measured", { error }),
    );
  const timers = await lifecycle.start(
    "ledger's timers",
    () =>
      startTimers(
        { clock, log, ledger: shared, member },
        { self: node.node, probeP99Ms: () => probeP99Ms },
      ),
    async (part) => {
      stopping.abort();
      await part[Symbol.asyncDispose]();
    },
  );
  measureTimers(ground, ledger, timers);

  const book = createTimersBook(shared);
  const view = async (): Promise<LedgerTimersView> =>
    ledger.record()
      ? timersView(await book.wanted(), await book.reports())
      : { engine: "sqlite", members: [] };
  return {
    routes: [
      {
        prefix,
        handle: async ({ method }) => {
          if (method !== "GET")
            throw new SkerryError({
              code: "invalid-change",
              message: "the ledger's timers are chosen by measurement, and can only be read",
            });
          const body = JSON.stringify(await view());
          return { status: 200, contentType: "application/json", body };
        },
      },
    ],
  };
}

/** Undefined with SQLite, and while its process is not the one that is kept. */
function runningTimers(ledger: LedgerPath): EtcdTimers | undefined {
  const record = ledger.record();
  const state = ledger.supervisor()?.state();
  if (record?.state !== "member" || !ledger.engine()) return undefined;
  if (state?.state !== "running" || state.isOutdated) return undefined;
  return record.timers ?? defaultTimers;
}

function measureTimers({ metrics }: Ground, ledger: LedgerPath, timers: Timers): void {
  const election = metrics.gauge(
    "skerry_ledger_election_timeout_seconds",
    "How long this server's member of the ledger waits for its leader before it wants another; absent with SQLite.",
  );
  const fsync = metrics.gauge(
    "skerry_ledger_fsync_p99_seconds",
    "99th percentile of the fsyncs of this server's member in the last five minutes.",
  );
  const roundTrip = metrics.gauge(
    "skerry_ledger_round_trip_p99_seconds",
    "99th percentile of the round trip to the slowest other member in the last five minutes.",
  );
  const changes = metrics.gauge(
    "skerry_ledger_leader_changes",
    "Changes of leader that this server's member saw in the last five minutes.",
  );
  metrics.beforeRender(() => {
    for (const gauge of [election, fsync, roundTrip, changes]) gauge.reset();
    const running = runningTimers(ledger);
    if (!running) return;
    election.set(running.electionMs / 1000);
    const measured = timers.own()?.measurement;
    if (!measured) return;
    if (measured.fsyncP99Ms !== undefined) fsync.set(measured.fsyncP99Ms / 1000);
    const roundTripsMs = Object.values(measured.roundTripP99MsById);
    if (roundTripsMs.length > 0) roundTrip.set(Math.max(...roundTripsMs) / 1000);
    changes.set(measured.leaderChanges);
  });
}
