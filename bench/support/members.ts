/**
 * Real etcd members with mutual TLS by an authority of their own, as servers of a cell start them. On
 * the disk that the other benches use; wherever `launch` puts them.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureLedgerAuthority, ledgerCommonName } from "../../src/identity/index.ts";
import {
  detectEtcd,
  etcdCommand,
  etcdUrl,
  openEtcdCluster,
  openEtcdLedger,
  type EtcdConnectOptions,
  type EtcdLedger,
  type EtcdTimers,
} from "../../src/ledger/etcd/index.ts";
import { parseSample, percentileMs } from "../../src/ledger/etcd/timers/index.ts";
import { explain } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { CannotRun } from "./bench.ts";

const startTimeoutMs = 60_000;

export type Member = {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Undefined while it does not run. */
  readonly pid: number | undefined;
  start(timers?: EtcdTimers): void;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
};

export type Members = AsyncDisposable & {
  readonly all: readonly Member[];
  readonly version: string;
  /** For a client whose local member is the first of these names. */
  connectOptions(names?: readonly string[]): EtcdConnectOptions;
  openLedger(names?: readonly string[]): Promise<EtcdLedger>;
  /** What the slowest disk took for 99 of 100 fsyncs of the log since its member began. */
  fsyncP99Ms(signal: AbortSignal): Promise<number>;
  /** The one that leads by its own word, as soon as all answer and have applied about the same. */
  whole(signal: AbortSignal): Promise<{ readonly leader: Member; readonly raftTerm: number }>;
};

const deps = { clock: systemClock, random: systemRandom, log: silentLog };

/** Throws CannotRun where etcd is not installed. */
export async function startMembers(options: {
  readonly folder: string;
  /** One a member, all of which this process reaches. */
  readonly hosts: readonly string[];
  readonly timers: EtcdTimers;
  /** Clients there, peers one above, figures two above. */
  readonly port: number;
  /** The command line that runs a member's; default: as it is. */
  readonly launch?: (name: string, argv: readonly string[]) => readonly string[];
  readonly signal: AbortSignal;
}): Promise<Members> {
  const { folder, hosts, port, launch = (_name, argv) => argv } = options;
  const version = await detectEtcd("etcd").catch((error: unknown) => {
    throw new CannotRun(
      `etcd is needed (${explain(error)}): apt-get install -y --no-install-recommends etcd-server`,
    );
  });
  mkdirSync(folder, { recursive: true });
  const authority = await ensureLedgerAuthority(
    { random: systemRandom, nowMs: () => systemClock.wallMs() },
    { folder: join(folder, "authority"), trustDomain: "bench.skerry" },
  );
  const leaf = await authority.issue({ addresses: hosts });
  const files = {
    cert: join(folder, "leaf.pem"),
    key: join(folder, "leaf.key"),
    ca: join(folder, "ca.pem"),
  };
  writeFileSync(files.cert, leaf.chainPem);
  writeFileSync(files.key, leaf.keyPem, { mode: 0o600 });
  writeFileSync(files.ca, authority.anchorPem);
  const credentials = { keyPem: leaf.keyPem, certPem: leaf.chainPem, caPem: authority.anchorPem };
  const token = Buffer.from(systemRandom.bytes(6)).toString("hex");
  const peers = hosts.map((host, index) => ({
    name: `n${index + 1}`,
    peerUrl: etcdUrl(host, port + 1),
  }));

  const metricsUrlOf = (host: string) => `http://${host}:${port + 2}`;

  const makeMember = (host: string, index: number): Member => {
    const name = `n${index + 1}`;
    let child: ChildProcess | undefined;
    return {
      name,
      host,
      port,
      get pid() {
        return child?.pid;
      },
      start(timers = options.timers) {
        const command = etcdCommand(
          {
            name,
            dataDir: join(folder, name),
            host,
            clientPort: port,
            peerPort: port + 1,
            files,
            metricsUrl: metricsUrlOf(host),
            peerCommonName: ledgerCommonName,
            initial: { state: "new", token, peers },
            timers,
          },
          version,
        );
        const [file = "", ...args] = launch(name, ["etcd", ...command.args]);
        const started = spawn(file, args, {
          stdio: "ignore",
          env: { PATH: process.env["PATH"], ...command.env },
        });
        started.once("exit", () => {
          if (child === started) child = undefined;
        });
        // One that cannot be started has no id; `whole` tells that it does not answer.
        started.once("error", () => {
          if (child === started) child = undefined;
        });
        child = started;
      },
      async kill() {
        const running = child;
        if (!running) return;
        const gone = new Promise<void>((resolve) => running.once("exit", () => resolve()));
        running.kill("SIGKILL");
        await gone;
      },
    };
  };
  const all = hosts.map(makeMember);

  const connectOptions = (given?: readonly string[]): EtcdConnectOptions => {
    const names = given ?? all.map(({ name }) => name);
    const endpoints = names.flatMap((name) => all.filter((member) => member.name === name));
    return {
      members: () => endpoints,
      credentials: () => credentials,
      serverName: authority.serverName,
    };
  };

  const members: Members = {
    all,
    version: Object.values(version).join("."),
    connectOptions,
    openLedger: (names) =>
      openEtcdLedger(deps, { ...connectOptions(names), name: "n1", timeoutMs: 20_000 }),
    async whole(signal) {
      using cluster = await openEtcdCluster(deps, connectOptions());
      const untilMs = performance.now() + startTimeoutMs;
      for (;;) {
        signal.throwIfAborted();
        const statuses = await cluster.status({ timeoutMs: 2_000 });
        const [first] = statuses;
        const agree =
          first?.state === "answers" &&
          statuses.every(
            (one) =>
              one.state === "answers" &&
              one.leaderId !== undefined &&
              one.leaderId === first.leaderId &&
              Math.abs(one.raftAppliedIndex - first.raftAppliedIndex) < 50,
          );
        const leads = statuses.find((one) => one.state === "answers" && one.leaderId === one.id);
        const leader = all.find(({ name }) => name === leads?.name);
        if (agree && leader) return { leader, raftTerm: first.raftTerm };
        if (performance.now() > untilMs) {
          const told = JSON.stringify(statuses.map(({ name, state }) => `${name} ${state}`));
          throw new Error(`the members do not agree within ${startTimeoutMs} ms: ${told}`);
        }
        await sleep(50, undefined, { signal });
      }
    },
    async fsyncP99Ms(signal) {
      const samples = await Promise.all(
        hosts.map(async (host) => {
          const answer = await fetch(`${metricsUrlOf(host)}/metrics`, { signal });
          return parseSample(await answer.text());
        }),
      );
      return Math.max(
        ...samples.map((sample) => (sample && percentileMs(sample.fsync, 0.99)) ?? Number.NaN),
      );
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(all.map((member) => member.kill()));
      process.off("exit", onExit);
    },
  };
  const onExit = () => {
    for (const { pid } of all) if (pid !== undefined) process.kill(pid, "SIGKILL");
  };
  process.once("exit", onExit);
  try {
    for (const member of all) member.start();
    await members.whole(options.signal);
  } catch (error) {
    await members[Symbol.asyncDispose]();
    throw error;
  }
  return members;
}
