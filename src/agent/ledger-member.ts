/**
 * This node's member of a ledger of several servers: its process under the keeper, its leaf, where it
 * listens, and the connections to all members.
 */
import { ledgerServerName } from "../identity/index.ts";
import type { Keeper } from "../keeper/index.ts";
import {
  etcdUrl,
  openEtcdCluster,
  openEtcdLedger,
  type Epoch,
  type EtcdCluster,
  type EtcdConnectOptions,
  type EtcdEndpoint,
  type EtcdLedger,
  type EtcdSupervisor,
  type LedgerRecord,
  type Revision,
} from "../ledger/index.ts";
import { every } from "../lib/clock.ts";
import { freePort, isAddressHere } from "../runtime/listen/index.ts";
import {
  etcdFiles,
  hasEtcdData,
  readEtcdCredentials,
  refreshEtcdLeaf,
  wipeEtcdFolder,
} from "./etcd-files.ts";
import { createEtcdRunner } from "./etcd-runner.ts";
import type { Ground } from "./ground.ts";
import type { KeptLedger } from "./kept-ledger.ts";
import { dataLost } from "./ledger-terms.ts";
import { isDeaf } from "./member-place.ts";

export type LedgerMember = {
  /** Where it serves clients, and by which name others know it. */
  readonly own: EtcdEndpoint;
  readonly peersPort: number;
  readonly peerUrl: string;
  /** As it is kept, or before anything is. Throws what the binary and the disk say, `ledger-data-lost`. */
  start(given: LedgerRecord): Promise<void>;
  /** Stops and forgets the process. */
  remove(): Promise<void>;
  /** And wipes its data. */
  clear(): Promise<void>;
  supervisor(): EtcdSupervisor | undefined;
  /** All members, whether or not there is a quorum; the same from the first call on. */
  openCluster(): Promise<EtcdCluster>;
  cluster(): EtcdCluster | undefined;
  /** The ledger that they hold; `initial` where this is its beginning. Throws without a quorum. */
  openEngine(initial?: { epoch: Epoch; revision: Revision }): Promise<EtcdLedger>;
  /** Once it was opened. */
  engine(): EtcdLedger | undefined;
};

const leafCheckMs = 6 * 3_600_000;

export async function openLedgerMember(
  ground: Ground,
  deps: { kept: KeptLedger; keeper: Keeper; searchPath: string; trustDomain: string },
): Promise<LedgerMember> {
  const { clock, random, log, lifecycle, dataDir, nowMs, record: node } = ground;
  const { kept, keeper, searchPath, trustDomain } = deps;
  const before = kept.record();
  const [clientPort, peersPort] = [
    before?.clientPort ?? (node.ports.ledger || (await freePort(node.host))),
    before?.peersPort ?? (node.ports.ledgerPeers || (await freePort(node.host))),
  ];
  const own: EtcdEndpoint = { name: node.node, host: node.host, port: clientPort };
  const { folder, tls } = etcdFiles(dataDir);
  const runner = await lifecycle.start(
    "etcd",
    () => createEtcdRunner({ clock, random, log, host: keeper.processes }, searchPath),
    async (part) => await part[Symbol.asyncDispose](),
  );
  let credentials: ReturnType<EtcdConnectOptions["credentials"]> | undefined;
  const connecting: EtcdConnectOptions = {
    members: () => [
      own,
      ...(kept.record()?.endpoints ?? []).filter(({ name }) => name !== node.node),
    ],
    // Asked with every call: read again when they may have changed.
    credentials: () => (credentials ??= readEtcdCredentials(dataDir)),
    witnesses: () => kept.witnesses(),
    serverName: ledgerServerName(trustDomain),
  };
  let engine: EtcdLedger | undefined;
  let cluster: EtcdCluster | undefined;

  const refreshLeaf = async () => {
    if (await refreshEtcdLeaf({ random, nowMs }, dataDir, node.host)) credentials = undefined;
  };
  await lifecycle.start(
    "ledger's leaf",
    () =>
      every(
        clock,
        leafCheckMs,
        async () => {
          if (kept.record()) await refreshLeaf();
        },
        (error) => log.warn("the ledger's leaf was not renewed", { error }),
      ),
    (timer) => timer.cancel(),
  );

  return {
    own,
    peersPort,
    peerUrl: etcdUrl(node.host, peersPort),
    async start(given) {
      // With an empty folder it would vote again on what it has voted on before.
      if (kept.record()?.state === "member" && !hasEtcdData(dataDir))
        throw dataLost(node.node, dataDir);
      await refreshLeaf();
      await runner.start(() => {
        // What is kept by now: timers may have changed since.
        const wanted = kept.record() ?? given;
        return {
          name: wanted.member,
          dataDir: folder,
          host: node.host,
          clientPort: wanted.clientPort,
          peerPort: wanted.peersPort,
          files: tls,
          initial: {
            state: wanted.initial.cluster,
            token: wanted.token,
            peers: wanted.initial.members,
          },
          timers: wanted.timers,
        };
      });
      const state = runner.supervisor?.state();
      const isOutdated = state?.state === "running" && state.isOutdated;
      if (isOutdated && isDeaf(kept.record() ?? given, node.host, isAddressHere)) {
        log.warn("the ledger's member listens where this machine no longer is: it is restarted", {
          to: node.host,
        });
        await runner.supervisor?.restart();
      }
    },
    remove: () => runner.remove(),
    async clear() {
      await runner.remove();
      wipeEtcdFolder(dataDir);
    },
    supervisor: () => runner.supervisor,
    async openCluster() {
      cluster ??= await lifecycle.start(
        "etcd's members",
        () => openEtcdCluster({ clock, random, log }, connecting),
        (part) => part[Symbol.dispose](),
      );
      return cluster;
    },
    cluster: () => cluster,
    async openEngine(initial) {
      engine = await openEtcdLedger(
        { clock, random, log },
        { ...connecting, name: node.node, ...(initial ? { initial } : {}) },
      );
      return engine;
    },
    engine: () => engine,
  };
}
