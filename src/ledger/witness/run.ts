/**
 * A witness: one member of the ledger on a machine that is no node. It votes, it keeps a copy, and it
 * serves nobody: its peers call it, it calls none of them. When an election makes it lead, it hands
 * leadership to a server that it hears, because every write would cost the way to it and back.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { WitnessBundle } from "../../api/index.ts";
import { explain, SkerryError } from "../../lib/errors.ts";
import { getText } from "../../runtime/node-http/index.ts";
import {
  createEtcdSupervisor,
  openEtcdCluster,
  type EtcdCredentials,
  type EtcdSupervisor,
  type EtcdTimers,
  type EtcdTlsFiles,
} from "../etcd/index.ts";
import type { EtcdDeps } from "../etcd/types.ts";
import type { EtcdProcessHost } from "../ports.ts";
import { heirOf, readFigures, type WitnessFigures } from "./figures.ts";
import { startStandIns } from "./stand-in.ts";

export type WitnessOptions = {
  /** Asked again at each start of etcd: a renewed bundle may bring other timers. */
  readonly bundle: () => WitnessBundle;
  /** The folder of its data, and of nothing else. */
  readonly etcdFolder: string;
  /** Address that its peers' calls arrive at on this machine. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly files: EtcdTlsFiles;
  /** For calls from this machine: an authority of its own, which nobody else has. */
  readonly local: {
    readonly files: EtcdTlsFiles;
    readonly credentials: EtcdCredentials;
    readonly serverName: string;
    readonly clientPort: number;
    readonly metricsPort: number;
  };
  /** Of the bundle's authority and for the loopback address: for the first start. */
  readonly standInLeaf: { readonly keyPem: string; readonly certPem: string };
  readonly binary: string;
  readonly path: string;
  /** Lines for a person. */
  readonly tell: (line: string) => void;
  readonly signal: AbortSignal;
};

/** Where clients of a witness would be: nowhere (RFC 2606). Servers know a witness by it. */
export const witnessClientHost = "witness.invalid";

const loopback = "127.0.0.1";
const lookEveryMs = 1_000;
const heardWithinMs = 400;
const figuresTimeoutMs = 2_000;
/** Above the servers' (2 GiB): what fills up first shall be a server, which can give space back. */
const quotaBytes = 3 * 1024 ** 3;

export const metricsUrl = (port: number) => `http://${loopback}:${port}`;

/** Throws what asking throws: it does not run, or is not ready yet. */
export async function witnessFigures(metricsPort: number): Promise<WitnessFigures> {
  const url = `${metricsUrl(metricsPort)}/metrics`;
  return readFigures(await getText(url, { timeoutMs: figuresTimeoutMs }));
}

/**
 * Until `signal` aborts; etcd has ended then. Throws `etcd-missing`, `etcd-unsupported`,
 * `ledger-data-newer`, and `member-removed` once the cell took it off.
 */
export async function runWitness(
  deps: EtcdDeps & { host: EtcdProcessHost },
  options: WitnessOptions,
): Promise<void> {
  const { clock, log } = deps;
  const { tell, signal } = options;
  const first = options.bundle();
  const isFirst = !existsSync(join(options.etcdFolder, "member"));
  await using standIns = isFirst ? await startStandIns(first, options.standInLeaf) : undefined;
  const supervisor = createEtcdSupervisor(deps, {
    binary: options.binary,
    path: options.path,
    member: () => memberOf(options, standIns?.peers),
  });
  await using _ = {
    async [Symbol.asyncDispose]() {
      await supervisor.stop();
      await supervisor[Symbol.asyncDispose]();
    },
  };
  supervisor.on("state", (state) => {
    if (state.state === "waiting") tell(`etcd ended, it is started again: ${state.lastWords}`);
  });
  tell(
    isFirst
      ? `etcd starts; ${first.name} waits for the cell's servers to call at ${first.address.host}:${first.address.port}`
      : "etcd starts on the data that it has",
  );
  await supervisor.start();

  const teller = createTeller(tell, first.name);
  let timers = first.timers;
  for (;;) {
    await clock.sleep(lookEveryMs, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    const state = supervisor.state();
    if (state.state === "refused")
      throw state.error.code === "member-removed" ? takenOff(first.name) : state.error;
    timers = await followTimers(supervisor, timers, options);
    try {
      const figures = await witnessFigures(options.local.metricsPort);
      teller.tell(figures);
      if (figures.hasLeader) await standIns?.[Symbol.asyncDispose]();
      if (figures.leads) await giveUpLeadership(deps, figures, options);
    } catch (error) {
      log.debug("the witness was not looked at", { because: explain(error) });
    }
  }
}

const takenOff = (name: string) =>
  new SkerryError({
    code: "member-removed",
    message: `the cell took the witness ${name} off: it votes no more, and its folder is of no use`,
    hint: `remove the folder; to have one again, on a server: skerry server add-witness ${name} --address HOST:PORT`,
  });

function memberOf(
  { bundle, listen, local, files, etcdFolder }: WitnessOptions,
  standIns: readonly { name: string; peerUrl: string }[] | undefined,
) {
  const { name, token, members, memberId, timers } = bundle();
  const peerUrl = members.find(({ id }) => id === memberId)?.peerUrl;
  return {
    name,
    dataDir: etcdFolder,
    host: listen.host,
    peerPort: listen.port,
    clientPort: local.clientPort,
    clients: { host: loopback, files: local.files },
    metricsUrl: metricsUrl(local.metricsPort),
    advertised: {
      clientUrl: `https://${witnessClientHost}:${listen.port}`,
      ...(peerUrl === undefined ? {} : { peerUrl }),
    },
    files,
    peerCommonName: "ledger",
    initial: { state: "existing" as const, token, peers: standIns ?? members },
    timers,
    quotaBytes,
    dialsNobody: true,
  };
}

/** Those of a renewed bundle: etcd takes them at a start only. */
async function followTimers(
  supervisor: EtcdSupervisor,
  before: EtcdTimers,
  { bundle, tell }: WitnessOptions,
): Promise<EtcdTimers> {
  const { timers } = bundle();
  if (timers.heartbeatMs === before.heartbeatMs && timers.electionMs === before.electionMs)
    return before;
  tell(`etcd starts again with other timers: ${timers.heartbeatMs} and ${timers.electionMs} ms`);
  await supervisor.restart();
  return timers;
}

/** To a server that is heard now. Nobody moves it back here, so there is nothing to fight about. */
async function giveUpLeadership(
  deps: EtcdDeps,
  before: WitnessFigures,
  { local, bundle, tell, signal }: WitnessOptions,
): Promise<void> {
  await deps.clock.sleep(heardWithinMs, { signal });
  const heir = heirOf(before, await witnessFigures(local.metricsPort));
  if (heir === undefined) return;
  const { name } = bundle();
  using cluster = await openEtcdCluster(deps, {
    members: () => [{ name, host: loopback, port: local.clientPort }],
    credentials: () => local.credentials,
    serverName: local.serverName,
  });
  await cluster.moveLeader(heir);
  const server = bundle().members.find(({ id }) => id === heir);
  tell(`the ledger's leadership went to ${server?.name ?? heir}: a witness only votes`);
}

/** What changed, in words. */
function createTeller(tell: (line: string) => void, name: string) {
  let last: string | undefined;
  return {
    tell(figures: WitnessFigures) {
      const words = !figures.hasLeader
        ? `${name} hears no leader: the servers do not call, or have none`
        : figures.leads
          ? `${name} leads, until a server is heard`
          : figures.isLearner
            ? `${name} takes in the ledger; it has no vote yet`
            : `${name} votes`;
      if (words !== last) tell(words);
      last = words;
    },
  };
}
