/**
 * Real etcd members on loopback addresses, with mutual TLS by an authority of their own. Each member
 * is a child of the test and can be killed, stopped, continued and started again on its data.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { createServer } from "node:net";
import { join } from "node:path";
import { ensureLedgerAuthority, ledgerCommonName } from "../../src/identity/index.ts";
import {
  detectEtcd,
  etcdCommand,
  etcdUrl,
  openEtcdCluster,
  openEtcdLedger,
  type EtcdCredentials,
  type EtcdLedger,
  type EtcdLedgerOptions,
  type EtcdMemberOptions,
  type EtcdTimers,
} from "../../src/ledger/etcd/index.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { hostDeps } from "./ledger.ts";
import { waitFor } from "./wait.ts";

/** A folder in memory where the machine has such a place: what is tested is not the disk. */
export async function memoryFolder(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "skerry-etcd-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Generous for a machine that is shared and slow. */
const startTimeoutMs = 40_000;

/** Low enough for leases of one second (etcd's least is one and a half elections). */
export const testTimers: EtcdTimers = { heartbeatMs: 50, electionMs: 500 };

export type TestEtcdOptions = {
  /** Each test's own: `127.0.31` gives 127.0.31.1 and so on. */
  readonly subnet: string;
  readonly folder: string;
  /** The last part of the first member's address. Default 1. */
  readonly firstHost?: number;
  /** Default 1. */
  readonly members?: number;
  readonly timers?: EtcdTimers;
  readonly quotaBytes?: number;
  /** Default 200 ms. */
  readonly bookmarkMs?: number;
  /** Default "etcd". */
  readonly binary?: string;
  /** Added to every member's environment, `LD_PRELOAD` for instance. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * Where others reach a member's peers (a link proxy in front of it). Default: where it listens.
   */
  readonly advertisedPeer?: (member: { name: string; host: string; peerPort: number }) => string;
};

export interface TestMember {
  readonly name: string;
  readonly host: string;
  readonly clientPort: number;
  readonly peerPort: number;
  readonly peerUrl: string;
  readonly dataDir: string;
  /** The running process; undefined when it was killed. */
  readonly pid: number | undefined;
  /** The last of what it wrote, newest last. */
  readonly output: readonly string[];
  /** Starts it on the data that it has; resolves when it listens. */
  start(options?: { timers?: EtcdTimers; forceNewCluster?: boolean }): Promise<void>;
  /** Resolves when the process is gone. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** SIGSTOP and SIGCONT: it keeps its connections and answers nobody. */
  pause(): void;
  resume(): void;
  wipe(): void;
}

export interface TestEtcd extends AsyncDisposable {
  readonly subnet: string;
  readonly members: readonly TestMember[];
  readonly credentials: EtcdCredentials;
  readonly serverName: string;
  readonly token: string;
  /** The options of its command, for whoever starts it in another way. */
  optionsOf(member: TestMember, given?: Partial<EtcdMemberOptions>): EtcdMemberOptions;
  /** A member that is not started yet: added to the list, for joins. */
  newMember(initial?: Partial<EtcdMemberOptions["initial"]>): Promise<TestMember>;
  /** Members in this order, or all; the first is "local". */
  openLedger(
    options?: Partial<EtcdLedgerOptions> & { from?: readonly string[] },
  ): Promise<EtcdLedger & AsyncDisposable>;
  /** What `etcdctl` prints when asked at the first member that runs. */
  etcdctl(args: readonly string[]): string;
  openCluster(from?: readonly string[]): ReturnType<typeof openEtcdCluster>;
}

/** Starts the members, unless `start` is false; resolves when all of them listen. */
export async function startEtcd(
  options: TestEtcdOptions & { start?: boolean; token?: string },
): Promise<TestEtcd> {
  const { folder, subnet, firstHost = 1 } = options;
  mkdirSync(folder, { recursive: true });
  const binary = options.binary ?? "etcd";
  const version = await detectEtcd(binary);
  const authority = await ensureLedgerAuthority(
    { random: systemRandom, nowMs: () => Date.now() },
    { folder: join(folder, "authority"), trustDomain: "test.skerry" },
  );
  const token = options.token ?? Buffer.from(systemRandom.bytes(6)).toString("hex");
  const addresses = Array.from({ length: 9 }, (_, index) => `${subnet}.${firstHost + index}`);
  const leaf = await authority.issue({ addresses });
  const files = {
    cert: join(folder, "leaf.pem"),
    key: join(folder, "leaf.key"),
    ca: join(folder, "ca.pem"),
  };
  writeFileSync(files.cert, leaf.chainPem);
  writeFileSync(files.key, leaf.keyPem, { mode: 0o600 });
  writeFileSync(files.ca, authority.anchorPem);
  const credentials = { keyPem: leaf.keyPem, certPem: leaf.chainPem, caPem: authority.anchorPem };

  const members: TestMember[] = [];
  const children = new Set<ChildProcess>();

  const initialByName = new Map<string, (own: TestMember) => EtcdMemberOptions["initial"]>();
  const optionsOf: TestEtcd["optionsOf"] = (member, given = {}) => ({
    name: member.name,
    dataDir: member.dataDir,
    host: member.host,
    clientPort: member.clientPort,
    peerPort: member.peerPort,
    advertised: { peerUrl: member.peerUrl },
    files,
    peerCommonName: ledgerCommonName,
    initial: initialByName.get(member.name)?.(member) ?? { state: "new", token, peers: [member] },
    quotaBytes: options.quotaBytes,
    bookmarkMs: options.bookmarkMs ?? 200,
    ...given,
    timers: given.timers ?? options.timers ?? testTimers,
  });

  const makeMember = async (
    initialOf: (own: TestMember) => EtcdMemberOptions["initial"],
  ): Promise<TestMember> => {
    const number = members.length + 1;
    const name = `n${number}`;
    const host = `${subnet}.${firstHost + number - 1}`;
    const [clientPort, peerPort] = await freePorts(host);
    const dataDir = join(folder, name);
    const output: string[] = [];
    let child: ChildProcess | undefined;

    const member: TestMember = {
      name,
      host,
      clientPort,
      peerPort,
      dataDir,
      output,
      peerUrl: options.advertisedPeer?.({ name, host, peerPort }) ?? etcdUrl(host, peerPort),
      get pid() {
        return child?.pid;
      },
      async start({ timers, forceNewCluster } = {}) {
        const command = etcdCommand(optionsOf(member, { timers, forceNewCluster }), version);
        const started = spawn(binary, [...command.args], {
          stdio: ["ignore", "ignore", "pipe"],
          env: { PATH: process.env["PATH"], ...command.env, ...options.env },
        });
        child = started;
        children.add(started);
        started.once("exit", () => {
          children.delete(started);
          if (child === started) child = undefined;
        });
        let rest = "";
        started.stderr.setEncoding("utf8").on("data", (chunk: string) => {
          const lines = (rest + chunk).split("\n");
          rest = lines.pop() ?? "";
          output.push(...lines);
          output.splice(0, Math.max(0, output.length - 500));
        });
        await waitFor(
          async () => {
            if (!child) throw new Error(`${name} ended: ${output.slice(-5).join("\n")}`);
            return await listens(host, clientPort);
          },
          { timeoutMs: startTimeoutMs, what: `${name} to listen` },
        );
      },
      async kill(signal = "SIGKILL") {
        const running = child;
        if (!running) return;
        const gone = new Promise<void>((resolve) => running.once("exit", () => resolve()));
        running.kill(signal);
        // One that is stopped takes no signal but this one.
        if (signal !== "SIGKILL") running.kill("SIGCONT");
        await gone;
      },
      pause: () => void child?.kill("SIGSTOP"),
      resume: () => void child?.kill("SIGCONT"),
      wipe: () => rmSync(dataDir, { recursive: true, force: true }),
    };
    members.push(member);
    initialByName.set(name, initialOf);
    return member;
  };

  const first: TestMember[] = [];
  const initial = (): EtcdMemberOptions["initial"] => ({ state: "new", token, peers: first });
  for (let i = 0; i < (options.members ?? 1); i++) first.push(await makeMember(initial));

  const endpoints = (from: readonly string[] | undefined) =>
    (from ?? members.map(({ name }) => name)).flatMap((name) => {
      const member = members.find((one) => one.name === name);
      return member ? [{ name, host: member.host, port: member.clientPort }] : [];
    });
  const connect = (from: readonly string[] | undefined) => ({
    members: () => endpoints(from),
    credentials: () => credentials,
    serverName: authority.serverName,
  });

  // A test that ends early must not leave a server behind.
  const onExit = () => {
    for (const child of children) child.kill("SIGKILL");
  };
  process.once("exit", onExit);

  const etcd: TestEtcd = {
    subnet,
    members,
    credentials,
    serverName: authority.serverName,
    token,
    optionsOf,
    newMember: (given = {}) =>
      makeMember(() => ({ state: "existing", token, peers: members, ...given })),
    async openLedger({ from, ...rest } = {}) {
      const ledger = await openEtcdLedger(hostDeps, {
        ...connect(from),
        name: "n1",
        timeoutMs: 20_000,
        ...rest,
      });
      return Object.assign(ledger, { [Symbol.asyncDispose]: () => ledger.close() });
    },
    etcdctl(args) {
      const endpoints = members
        .filter(({ pid }) => pid !== undefined)
        .map(({ host, clientPort }) => etcdUrl(host, clientPort));
      const flags = ["--endpoints", endpoints.join(","), "--command-timeout", "20s"];
      const tls = ["--cacert", files.ca, "--cert", files.cert, "--key", files.key];
      return execFileSync("etcdctl", [...flags, ...tls, ...args], {
        env: { ...process.env, ETCDCTL_API: "3" },
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      });
    },
    openCluster: (from) => openEtcdCluster(hostDeps, connect(from)),
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map((member) => member.kill()));
      process.off("exit", onExit);
    },
  };
  if (options.start !== false) await Promise.all(first.map((member) => member.start()));
  return etcd;
}

/** Two ports that nobody listens on at `host` now. */
export async function freePorts(host: string): Promise<[number, number]> {
  const servers = [createServer(), createServer()];
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once("error", reject);
          server.listen(0, host, () => resolve((server.address() as { port: number }).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports as [number, number];
}

async function listens(host: string, port: number): Promise<boolean> {
  const { connect } = await import("node:net");
  return await new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
