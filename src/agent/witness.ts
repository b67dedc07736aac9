/** A witness on the machine where it runs: its place there, its one process, how it is. */
import { join } from "node:path";
import { isIP } from "node:net";
import type { WitnessBundle } from "../api/index.ts";
import { ensureLedgerAuthority } from "../identity/index.ts";
import {
  createChildHost,
  detectEtcd,
  runWitness as runMember,
  versionText,
  witnessFigures,
  type WitnessFigures,
} from "../ledger/index.ts";
import type { Clock } from "../lib/clock.ts";
import { explain, SkerryError } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import { readRecord, writeRecord } from "../runtime/files/index.ts";
import { addressesHere, freePort, isAddressHere } from "../runtime/listen/index.ts";
import { lockHolder, releaseLock, takeLock } from "../runtime/lock/index.ts";
import { createLog } from "../runtime/log/index.ts";
import { etcdBinary } from "./etcd-runner.ts";
import { parseListen } from "./host-port.ts";
import { filesOf, readAdopted, writeTls } from "./witness-bundle.ts";

export type WitnessHostConfig = {
  readonly dataDir: string;
  /** HOST or HOST:PORT of this machine; default: the address in the bundle. */
  readonly listen?: string;
  readonly searchPath: string;
};

type Deps = { readonly clock: Clock; readonly random: Random };

/** What is kept beside the bundle: where things are on this machine. */
type Place = {
  readonly listen: { readonly host: string; readonly port: number };
  readonly clientPort: number;
  readonly metricsPort: number;
};

export type WitnessStatus = {
  readonly name: string;
  readonly cell: string;
  readonly address: string;
  readonly listen: string;
  readonly state: "stopped" | "starting" | "waiting" | "learner" | "voter" | "leader";
  readonly certificate: { readonly notAfterMs: number; readonly leftDays: number };
  readonly ledgerBytes?: number;
  readonly residentBytes?: number;
  readonly sentBytes?: number;
  readonly receivedBytes?: number;
};

const loopback = "127.0.0.1";
const dayMs = 86_400_000;
/**
 * Until `signal` aborts. Throws `witness-running`, `not-a-witness`, `cannot-listen`, `port-in-use`,
 * `etcd-missing`, `member-removed`, and what etcd's start throws.
 */
export async function runWitnessHere(
  config: WitnessHostConfig,
  deps: Deps,
  options: { tell: (line: string) => void; signal: AbortSignal },
): Promise<void> {
  const { dataDir, searchPath } = config;
  const { clock, random } = deps;
  const files = filesOf(dataDir);
  const bundle = readAdopted(dataDir);
  const lock = takeLock(files.lock);
  if (lock.state === "taken")
    throw new SkerryError({
      code: "witness-running",
      message: `the witness of ${dataDir} runs already, as process ${lock.by.pid}`,
      hint: "look at it: skerry witness status",
    });
  try {
    const binary = etcdBinary(searchPath) ?? "etcd";
    options.tell(`etcd ${versionText(await detectEtcd(binary))} found`);
    const place = await placeOf(config, bundle);
    writeRecord(files.place, place);
    const log = createLog({
      level: "info",
      path: join(dataDir, "witness.log"),
      fields: { witness: bundle.name },
    });
    const local = await localAccess(deps, dataDir, bundle.trustDomain);
    await using host = createChildHost({ clock }, dataDir);
    await runMember(
      { clock, random, log, host },
      {
        bundle: () => readAdopted(dataDir),
        etcdFolder: files.etcd,
        listen: place.listen,
        files: files.peerTls,
        local: { ...local, clientPort: place.clientPort, metricsPort: place.metricsPort },
        standInLeaf: { keyPem: bundle.keyPem, certPem: bundle.certPem },
        binary,
        path: searchPath,
        ...options,
      },
    );
  } finally {
    releaseLock(files.lock, lock.identity);
  }
}

/** Throws `invalid-argument` where nothing here can listen at the address that the servers call. */
async function placeOf(config: WitnessHostConfig, bundle: WitnessBundle): Promise<Place> {
  const before = readRecord(filesOf(config.dataDir).place) as Place | undefined;
  const listen =
    config.listen === undefined
      ? (before?.listen ?? bundle.address)
      : parseListen(config.listen, bundle.address.port);
  if (isIP(listen.host) === 0 || !isAddressHere(listen.host))
    throw new SkerryError({
      code: "invalid-argument",
      message: `--listen: ${listen.host} is no address of this machine`,
      hint: `behind a NAT say where its calls arrive: skerry witness run --listen ${addressesHere()[0] ?? "192.0.2.7"}:${listen.port}`,
    });
  return {
    listen,
    clientPort: before?.clientPort ?? (await freePort(loopback)),
    metricsPort: before?.metricsPort ?? (await freePort(loopback)),
  };
}

/**
 * For this machine's own calls: an authority that no other machine has. The leaf of the bundle opens
 * nothing, on purpose.
 */
async function localAccess(deps: Deps, dataDir: string, trustDomain: string) {
  const files = filesOf(dataDir);
  const nowMs = () => deps.clock.wallMs();
  const folder = join(dataDir, "local");
  const authority = await ensureLedgerAuthority(
    { random: deps.random, nowMs },
    { folder, trustDomain },
  );
  const leaf = await authority.issue({ addresses: [loopback] });
  writeTls(files.localTls, { ...leaf, caPem: authority.anchorPem });
  return {
    files: files.localTls,
    credentials: { keyPem: leaf.keyPem, certPem: leaf.chainPem, caPem: authority.anchorPem },
    serverName: authority.serverName,
  };
}

/** How it is, as far as can be told from this machine. Throws `not-a-witness`. */
export async function witnessStatusHere(dataDir: string, deps: Deps): Promise<WitnessStatus> {
  const files = filesOf(dataDir);
  const bundle = readAdopted(dataDir);
  const place = readRecord(files.place) as Place | undefined;
  const figures = place && lockHolder(files.lock) ? await figuresOf(place) : undefined;
  const at = ({ host, port }: { host: string; port: number }) =>
    `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const leftMs = bundle.notAfterMs - deps.clock.wallMs();
  return {
    name: bundle.name,
    cell: bundle.trustDomain,
    address: at(bundle.address),
    listen: at(place?.listen ?? bundle.address),
    state: figures ? stateOf(figures) : lockHolder(files.lock) ? "starting" : "stopped",
    certificate: { notAfterMs: bundle.notAfterMs, leftDays: Math.floor(leftMs / dayMs) },
    ...(figures
      ? {
          ledgerBytes: figures.ledgerBytes,
          residentBytes: figures.residentBytes,
          sentBytes: figures.sentBytes,
          receivedBytes: [...figures.receivedBytesById.values()].reduce((a, b) => a + b, 0),
        }
      : {}),
  };
}

async function figuresOf({ metricsPort }: Place): Promise<WitnessFigures | undefined> {
  try {
    return await witnessFigures(metricsPort);
  } catch (error) {
    // It is being started, or has just ended: nothing else keeps a listener of this machine from answering.
    void explain(error);
    return undefined;
  }
}

function stateOf(figures: WitnessFigures): WitnessStatus["state"] {
  if (!figures.hasLeader) return "waiting";
  if (figures.isLearner) return "learner";
  return figures.leads ? "leader" : "voter";
}
