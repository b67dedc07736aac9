/**
 * The way of the cell's truth: which engine holds this server's ledger, and how that changes. One
 * server: SQLite in the storage thread. Several: etcd, a process of the keeper on each. The agent's
 * start waits for no quorum: until there is one, the ledger in front of the engines refuses by name.
 */
import { join } from "node:path";
import type { Keeper } from "../../keeper/index.ts";
import {
  connectLedger,
  convertLedger,
  createServersBook,
  createSwitchingLedger,
  defaultTimers,
  etcdUrl,
  ledgerFolder,
  openEtcdCluster,
  openEtcdLedger,
  probeFsync,
  readLedgerRecord,
  removeLedgerRecord,
  restartSafely,
  timersAtStart,
  writeLedgerRecord,
  type Epoch,
  type EtcdCluster,
  type EtcdConnectOptions,
  type EtcdEndpoint,
  type EtcdLedger,
  type EtcdSupervisor,
  type EtcdTimers,
  type EtcdWitness,
  type LedgerRecord,
  type ServersBook,
  type SwitchingLedger,
} from "../../ledger/index.ts";
import { acceptHandover, ensureLedgerAuthority, ledgerServerName } from "../../identity/index.ts";
import { every } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { uuid } from "../../lib/random.ts";
import { ensureDirectory } from "../../runtime/files/index.ts";
import { freePort } from "../../runtime/listen/index.ts";
import { readNodeRecord, writeNodeRecord } from "../config.ts";
import {
  etcdFiles,
  hasEtcdData,
  putSqliteAside,
  readEtcdCredentials,
  refreshEtcdLeaf,
  removeLedgerFiles,
  wipeEtcdFolder,
} from "../etcd-files.ts";
import { createEtcdRunner, findEtcd } from "../etcd-runner.ts";
import type { Ground } from "../ground.ts";
import { dataLost, endpointOf, noQuorumYet, notMember, type JoinRequest } from "../ledger-terms.ts";
import { takeOverTokens } from "../ledger-tokens.ts";
import { identityFolder } from "../local.ts";
import type { IdentityPath } from "./identity-path.ts";

export type LedgerPath = {
  /** Servers only. */
  readonly ledger: SwitchingLedger | undefined;
  /** Servers only. */
  readonly book: ServersBook | undefined;
  record(): LedgerRecord | undefined;
  /** Of the member whose data is here. */
  memberId(): string | undefined;
  /** With etcd: its members, whether or not there is a quorum. */
  cluster(): EtcdCluster | undefined;
  /** This server's own member; undefined with SQLite. */
  supervisor(): EtcdSupervisor | undefined;
  /** With etcd, once it is open. */
  engine(): EtcdLedger | undefined;
  /** For the member's next start; kept. */
  keepTimers(timers: EtcdTimers): void;
  etcdVersion(): Promise<string | undefined>;
  readonly peerUrl: string;
  /** Takes in where members serve clients; kept, so that a cold start finds them. */
  learnEndpoints(endpoints: readonly EtcdEndpoint[]): void;
  /** Members that serve no clients, as last seen; kept as well. */
  witnesses(): readonly EtcdWitness[];
  learnWitnesses(witnesses: readonly EtcdWitness[]): void;
  convert(tell: (line: string) => void): Promise<void>;
  join(request: JoinRequest): Promise<void>;
  /** This member has its vote: the node starts again as a server. */
  settle(): Promise<void>;
  /** This member was removed: the node starts again as a worker. */
  leave(): Promise<void>;
};

const openRetryMs = 500;
const openPatienceMs = 1_000;
const lookEveryMs = 5_000;
const leafCheckMs = 6 * 3_600_000;
/** etcd's first start on a slow disk. */
const firstStartMs = 60_000;

export async function startLedgerPath(
  ground: Ground,
  deps: { identity: IdentityPath; keeper: Keeper; searchPath: string; restart: () => void },
): Promise<LedgerPath> {
  const { clock, random, log, lifecycle, dataDir, nowMs, storage } = ground;
  const node = ground.record;
  const { trustDomain } = deps.identity.identity.trust;
  const leaf = () => refreshEtcdLeaf({ random, nowMs }, dataDir, node.host);
  let record = readLedgerRecord(dataDir);
  const keep = (next: LedgerRecord) => {
    writeLedgerRecord(dataDir, next);
    record = next;
  };
  const [clientPort, peersPort] = [
    record?.clientPort ?? (node.ports.ledger || (await freePort(node.host))),
    record?.peersPort ?? (node.ports.ledgerPeers || (await freePort(node.host))),
  ];
  const peerUrl = etcdUrl(node.host, peersPort);

  const runner = await lifecycle.start(
    "etcd",
    () => createEtcdRunner({ clock, random, log, host: deps.keeper.processes }, deps.searchPath),
    async (part) => await part[Symbol.asyncDispose](),
  );
  const startEtcd = async (given: LedgerRecord) => {
    // With an empty folder it would vote again on what it has voted on before.
    if (record?.state === "member" && !hasEtcdData(dataDir)) throw dataLost(node.node, dataDir);
    await leaf();
    await runner.start(() => {
      // What is kept by now: timers may have changed since.
      const wanted = record ?? given;
      return {
        name: wanted.member,
        dataDir: etcdFiles(dataDir).folder,
        host: node.host,
        clientPort: wanted.clientPort,
        peerPort: wanted.peersPort,
        files: etcdFiles(dataDir).tls,
        initial: {
          state: wanted.initial.cluster,
          token: wanted.token,
          peers: wanted.initial.members,
        },
        timers: wanted.timers,
      };
    });
  };
  const own = (): EtcdEndpoint => ({ name: node.node, host: node.host, port: clientPort });
  const connecting = (endpoints: () => readonly EtcdEndpoint[]): EtcdConnectOptions => ({
    members: () => [own(), ...endpoints().filter(({ name }) => name !== node.node)],
    credentials: () => readEtcdCredentials(dataDir),
    witnesses: () => record?.witnesses ?? [],
    serverName: ledgerServerName(trustDomain),
  });
  const known = connecting(() => record?.endpoints ?? []);
  const openEngine = (initial?: { epoch: Epoch; revision: number }): Promise<EtcdLedger> =>
    openEtcdLedger(
      { clock, random, log },
      { ...known, name: node.node, ...(initial ? { initial: initial as never } : {}) },
    );

  let engine: EtcdLedger | undefined;
  let cluster: EtcdCluster | undefined;
  let ledger: SwitchingLedger | undefined;
  const openCluster = async () => {
    cluster ??= await lifecycle.start(
      "etcd's members",
      () => openEtcdCluster({ clock, random, log }, known),
      (part) => part[Symbol.dispose](),
    );
    return cluster;
  };

  const stopping = new AbortController();
  await lifecycle.start(
    "ledger's opening",
    () => stopping,
    (part) => part.abort(),
  );
  if (record?.state === "leaving") {
    await runner.remove();
    removeLedgerFiles(dataDir);
    removeLedgerRecord(dataDir);
    record = undefined;
    log.info("this node is no server of the cell any more; to be one again: skerry server add", {
      node: node.node,
    });
  }
  if (node.role === "server") {
    const { epoch } = record ?? {};
    const sqlite = record ? undefined : await connectLedger(storage, { clock, random, log });
    const front = createSwitchingLedger(
      { clock, log },
      { epoch: (sqlite?.epoch ?? epoch ?? "") as Epoch, absent: noQuorumYet },
    );
    ledger = front;
    await lifecycle.start(
      "ledger",
      () => front,
      (part) => part.close(),
    );
    if (sqlite) {
      front.open(sqlite);
      await takeOverTokens(front, join(dataDir, "tokens")).catch((error: unknown) =>
        log.warn("join tokens of an earlier version were not taken over", { error }),
      );
    }
  }
  if (record) {
    // Left behind by a conversion that was cut short after its commit.
    putSqliteAside(dataDir);
    await openCluster();
    await startEtcd(record).catch((error: unknown) =>
      log.error("this server's member of the ledger cannot be started", { error }),
    );
    if (ledger) await withinMoment(openWhenPossible(ledger, stopping.signal));
  } else {
    // What a conversion or a join that never came to its commit left behind.
    await runner.remove();
    wipeEtcdFolder(dataDir);
  }
  const book = ledger && createServersBook(ledger);

  async function openWhenPossible(front: SwitchingLedger, signal: AbortSignal): Promise<void> {
    let isTold = false;
    while (!signal.aborted) {
      try {
        engine = await openEngine();
        if (signal.aborted) return await engine.close();
        front.open(engine);
        log.info("the ledger is open", { engine: "etcd" });
        return;
      } catch (error) {
        if (!isTold) log.warn("the ledger waits for a majority of its servers", { error });
        isTold = true;
        await clock.sleep(openRetryMs, { signal }).catch(() => undefined);
      }
    }
  }

  /** Where a majority answers the ledger opens at once, and nobody need meet it closed. */
  async function withinMoment(opening: Promise<void>): Promise<void> {
    await Promise.race([opening, clock.sleep(openPatienceMs)]);
  }

  /** Looks after what a start could not do, and after what the others have decided. */
  async function tend(): Promise<void> {
    const state = runner.supervisor?.state();
    if (record && (!state || state.state === "stopped")) await startEtcd(record);
    // A learner that was taken off again before it was a server.
    const isRemoved = state?.state === "refused" && state.error.code === "member-removed";
    if (record?.state === "joining" && isRemoved) {
      await runner.remove();
      wipeEtcdFolder(dataDir);
      removeLedgerRecord(dataDir);
      record = undefined;
    }
    if (record?.state !== "member" || !engine) return;
    await path.leave();
    const members = await engine.cluster.members();
    path.learnEndpoints(members.flatMap(endpointOf));
    const { supervisor } = runner;
    // Adopted as an earlier start left it: the binary or its flags are others by now.
    if (supervisor && state?.state === "running" && state.isOutdated)
      await restartSafely(
        { clock, log },
        { ledger: engine, supervisor, name: node.node, signal: stopping.signal },
      );
  }

  const path: LedgerPath = {
    ledger,
    book,
    record: () => record,
    memberId: () => (hasEtcdData(dataDir) ? record?.memberId : undefined),
    cluster: () => cluster,
    supervisor: () => runner.supervisor,
    engine: () => engine,
    keepTimers(timers) {
      if (record) keep({ ...record, timers: { ...timers } });
    },
    peerUrl,
    etcdVersion: () => findEtcd(deps.searchPath),
    learnEndpoints(endpoints) {
      if (!record || endpoints.length === 0) return;
      if (JSON.stringify(endpoints) === JSON.stringify(record.endpoints)) return;
      keep({ ...record, endpoints: [...endpoints] });
    },
    witnesses: () => record?.witnesses ?? [],
    learnWitnesses(witnesses) {
      if (!record || JSON.stringify(witnesses) === JSON.stringify(record.witnesses ?? [])) return;
      keep({ ...record, witnesses: [...witnesses] });
    },

    async convert(tell) {
      if (!ledger) throw new SkerryError({ code: "not-a-server", message: "no ledger is here" });
      if (record) return;
      await ensureLedgerAuthority(
        { random, nowMs },
        { folder: identityFolder(dataDir), trustDomain },
      );
      await runner.remove();
      wipeEtcdFolder(dataDir);
      ensureDirectory(ledgerFolder(dataDir));
      const { medianMs } = await probeFsync({ clock }, ledgerFolder(dataDir));
      const draft: LedgerRecord = {
        version: 1,
        engine: "etcd",
        state: "member",
        token: `skerry-${uuid(random)}`,
        member: node.node,
        clientPort,
        peersPort,
        initial: { cluster: "new", members: [{ name: node.node, peerUrl }] },
        epoch: ledger.epoch,
        endpoints: [own()],
        timers: timersAtStart(medianMs, defaultTimers),
      };
      try {
        await startEtcd(draft);
        const members = await openCluster();
        const memberId = await whenItLeads(members);
        tell("etcd runs here; copying the ledger");
        const told = await convertLedger({ clock, log }, ledger, {
          openTarget: async ({ base, epoch }) =>
            (engine = await openEngine({ epoch, revision: base })),
          commit: () => keep({ ...draft, memberId }),
        });
        putSqliteAside(dataDir);
        tell(
          `copied ${told.keys} keys (${told.bytes} bytes); writes waited ${told.heldMs} ms, nothing was lost`,
        );
      } catch (error) {
        // Before its commit nothing has happened; after a commit that failed only the disk knows.
        if (ledger.engine === undefined) deps.restart();
        else if (!record) await runner.remove();
        throw error;
      }
    },

    async join(request) {
      if (record?.memberId === request.memberId) return await startEtcd(record);
      if (node.role === "server" && !record)
        throw new SkerryError({
          code: "member-refused",
          message: `${node.node} holds a ledger of its own`,
          hint: "a server of another cell cannot join this one: give the machine an empty data folder",
        });
      await runner.remove();
      wipeEtcdFolder(dataDir);
      acceptHandover(identityFolder(dataDir), request.handover, deps.identity.identity.trust);
      keep({
        version: 1,
        engine: "etcd",
        state: "joining",
        token: request.token,
        member: node.node,
        memberId: request.memberId,
        clientPort,
        peersPort,
        initial: { cluster: "existing", members: [...request.members] },
        epoch: request.epoch,
        endpoints: [...request.endpoints, own()],
        ...(request.timers ? { timers: request.timers } : {}),
      });
      if (request.hub !== undefined && node.hub === undefined)
        writeNodeRecord(dataDir, { ...node, hub: request.hub });
      await openCluster();
      if (record) await startEtcd(record);
    },

    async settle() {
      if (!record || !cluster) throw notMember(node.node);
      const { memberId } = record;
      const member = (await cluster.members()).find(({ id }) => id === memberId);
      if (!member || member.isLearner) throw notMember(node.node);
      if (record.state !== "member") keep({ ...record, state: "member" });
      if (node.role === "server") return;
      // Its hub may have come with the request to join.
      writeNodeRecord(dataDir, { ...(readNodeRecord(dataDir) ?? node), role: "server" });
      log.info("this node becomes a server of the cell", { node: node.node });
      deps.restart();
    },

    async leave() {
      if (!record) return;
      const { memberId } = record;
      if (memberId === undefined || !book || !(await book.isRemoved(memberId))) return;
      log.warn(
        "this node's member was removed from the ledger: it goes on as a worker; to be a server again: skerry server add",
        { node: node.node },
      );
      keep({ ...record, state: "leaving" });
      writeNodeRecord(dataDir, { ...node, role: "worker" });
      deps.restart();
    },
  };

  const whenItLeads = async (members: EtcdCluster): Promise<string> => {
    const giveUpMs = clock.monotonicMs() + firstStartMs;
    for (;;) {
      const [status] = await members.status();
      if (status?.state === "answers" && status.leaderId === status.id) return status.id;
      if (clock.monotonicMs() > giveUpMs)
        throw new SkerryError({
          code: "etcd-not-ready",
          message: `etcd did not get ready within ${firstStartMs / 1000} s`,
          hint: `its lines stand in ${dataDir}/logs/agent.log`,
          retryable: true,
        });
      await clock.sleep(100);
    }
  };

  await lifecycle.start(
    "ledger's members watched",
    () => {
      const timers = [
        every(clock, lookEveryMs, tend, (error) =>
          log.debug("the ledger's member cannot be looked after now", { error }),
        ),
        every(
          clock,
          leafCheckMs,
          async () => {
            if (record) await leaf();
          },
          (error) => log.warn("the ledger's leaf was not renewed", { error }),
        ),
      ];
      return timers;
    },
    (timers) => {
      for (const timer of timers) timer.cancel();
    },
  );
  return path;
}
