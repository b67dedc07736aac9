/**
 * The hub's root: constructs, connects and orders. One port takes links from cells, enrolments and
 * the hub's own HTTPS API, told apart by ALPN.
 */
import { TLSSocket } from "node:tls";
import { isDeepStrictEqual } from "node:util";
import {
  connectGlobalStore,
  createGlobalRoutes,
  registerGlobalStore,
  type GlobalDocumentEvents,
  type GlobalDocumentMethods,
  type GlobalEvents,
  type GlobalMethods,
} from "../data/index.ts";
import { createCellBook, encodeHubHeard } from "../fleet/index.ts";
import type { LedgerMethods, LedgerThreadEvents } from "../ledger/index.ts";
import { whenAborted } from "../lib/abort.ts";
import { parseDurationMs } from "../lib/duration.ts";
import { SkerryError } from "../lib/errors.ts";
import { entryUrl } from "../runtime/child/index.ts";
import { systemClock as clock, systemRandom as random } from "../runtime/clock/index.ts";
import { ensureDirectory } from "../runtime/files/index.ts";
import { createEmbeddedHttpApp } from "../runtime/http/index.ts";
import { createLifecycle } from "../runtime/lifecycle/index.ts";
import { createLog } from "../runtime/log/index.ts";
import { writeAccess, writeInfo } from "../runtime/local/index.ts";
import { placeOf } from "../runtime/postgres/index.ts";
import { ownProcess, version } from "../runtime/process/index.ts";
import { startThread } from "../runtime/thread/index.ts";
import {
  createRouter,
  listen,
  parseBalancers,
  verifyPeer,
  type Listener,
  type Peer,
} from "../transport/index.ts";
import {
  postgresOf,
  readHubRecord,
  resolveHubRecord,
  writeHubRecord,
  type HubConfig,
} from "./config.ts";
import type { HubGround } from "./ground.ts";
import { lockHubFolder, type HubInfo } from "./launch.ts";
import { startAuditPath } from "./paths/audit-path.ts";
import { startBackupPath } from "./paths/backup-path.ts";
import { startDocumentsPath } from "./paths/documents-path.ts";
import { startEnrolPath } from "./paths/enrol-path.ts";
import { mountMetrics, openPaths } from "./paths/metrics-path.ts";
import { startQueriesPath } from "./paths/queries-path.ts";
import { keyFailureOf, refusedOf } from "./status.ts";
import { hubDatabasePath, refuseUnmigrated, type HubStorageData } from "./storage.ts";

/** Every node of every cell holds one. */
const connectionsMax = 10_000;

type RunOptions = {
  readonly signal: AbortSignal;
  readonly onReady: (info: HubInfo) => void;
  /** Standard error when absent. */
  readonly logPath?: string;
};

/** Runs until `signal` aborts, then stops in order. Throws what a part throws while starting. */
export async function runHub(config: HubConfig, options: RunOptions): Promise<void> {
  try {
    await run(config, options);
  } catch (error) {
    // It was asked to stop while it started, as one does that waits for its key: that is what it did.
    if (error !== options.signal.reason || !options.signal.aborted) throw error;
  }
}

async function run(config: HubConfig, options: RunOptions): Promise<void> {
  const { dataDir } = config;
  ensureDirectory(dataDir);
  const lock = lockHubFolder(dataDir);
  const kept = readHubRecord(dataDir);
  const record = resolveHubRecord(config, kept);
  const postgres = postgresOf(config, record);
  if (postgres) refuseUnmigrated(dataDir);
  // A start changes nothing by itself, and so needs no room on a full disk.
  if (!isDeepStrictEqual(record, kept)) writeHubRecord(dataDir, record);
  const logLevel = config.logLevel ?? "info";
  const { logPath } = options;
  const to = logPath === undefined ? {} : { path: logPath };
  const log = createLog({ level: logLevel, ...to, fields: { hub: record.name } });
  const lifecycle = createLifecycle({ clock, log });
  await lifecycle.start(
    "folder lock",
    () => lock,
    (part) => part.release(),
  );
  const ground: HubGround = {
    clock,
    random,
    log,
    lifecycle,
    dataDir,
    record,
    ...(config.authorityKey === undefined ? {} : { authorityKey: config.authorityKey }),
    ...(postgres ? { postgres } : {}),
  };
  const nowMs = () => clock.wallMs();

  const data: HubStorageData = {
    dataDir,
    logLevel,
    ...(logPath === undefined ? {} : { logPath }),
    ...(postgres ? { postgres } : {}),
    ...(record.retention === undefined
      ? {}
      : { retentionAgeMs: parseDurationMs(record.retention, "retention") }),
  };
  const thread = await lifecycle.start(
    "storage",
    () =>
      startThread<
        GlobalMethods & GlobalDocumentMethods & LedgerMethods,
        GlobalEvents & GlobalDocumentEvents & LedgerThreadEvents
      >(entryUrl(import.meta.url, "./storage.entry"), { name: "storage", data }),
    (part) => part.terminate(),
  );
  const documentsThread = postgres
    ? await lifecycle.start(
        "documents storage",
        () =>
          startThread<GlobalDocumentMethods, GlobalDocumentEvents>(
            entryUrl(import.meta.url, "./documents.entry"),
            { name: "documents", data },
          ),
        (part) => part.terminate(),
      )
    : thread;
  const store = await lifecycle.start(
    "global store",
    () => connectGlobalStore(thread),
    (part) => part.close(),
  );

  let listener: Listener | undefined;
  const enrolPath = await startEnrolPath(ground, {
    storage: thread,
    onCells: () => listener?.refresh(),
    signal: options.signal,
  });
  const { authority, own, registry } = enrolPath;
  const book = createCellBook({ clock });

  const router = createRouter();
  const cellOf = (peer: Peer) =>
    peer.path[0] === "node" ? registry.cellOf(peer.trustDomain) : undefined;
  registerGlobalStore(router, store, cellOf);
  const documents = await startDocumentsPath(ground, {
    router,
    thread: documentsThread,
    cellOf,
  });
  const queries = await startQueriesPath(ground, { postgres });
  await startAuditPath(ground, { router, cellOf });
  startBackupPath(ground, { router, cellOf: (domain) => registry.cellOf(domain) });
  router.handle("hub.heartbeat", async ({ peer, body }) => {
    const cell = registry.cellOf(peer.trustDomain);
    if (cell === undefined || peer.path[0] !== "node")
      throw new SkerryError({
        code: "forbidden",
        message: `${peer.id} is not a node of an enrolled cell`,
      });
    const node = peer.path[1] ?? "";
    book.heard(cell, node, body);
    return encodeHubHeard(book.agesOfOthers(cell, node));
  });

  const http = await lifecycle.start(
    "api",
    () => createEmbeddedHttpApp({ log }),
    ({ app }) => app.close(),
  );
  const { app } = http;
  app.addHook("onRequest", async (request) => {
    if (openPaths.has(request.url)) return;
    const { socket } = request.raw;
    const verdict =
      socket instanceof TLSSocket ? verifyPeer(socket, [authority.trust], nowMs()) : undefined;
    if (verdict?.ok && verdict.subject.path.join("/") === "user/admin") return;
    throw new SkerryError({
      code: "unauthenticated",
      message: "the hub's API wants its administrator's certificate",
      hint: "use the skerry command on the hub's machine: --data names the hub's folder",
    });
  });
  createGlobalRoutes(store, { clock })(app);
  const kind = postgres
    ? { engine: "postgres" as const, place: placeOf(postgres) }
    : { engine: "sqlite" as const, place: hubDatabasePath(dataDir) };
  const status = async () => ({
    ...book.status(record.name, registry.cells(), await store.streams()),
    store: kind,
    ...keyFailureOf(enrolPath.keyFailure(), clock.monotonicMs()),
    ...refusedOf(listener?.refusals() ?? [], clock.monotonicMs()),
  });
  documents.routes(app);
  queries(app);
  app.get("/v1/status", status);
  mountMetrics(app, {
    name: record.name,
    version: version(),
    clock,
    status,
    collections: () => documents.collections(),
  });
  app.post("/skerry/v1/tokens", ({ body }) => enrolPath.createToken(body));
  await app.ready();

  const port = {
    credentials: () => own.identity,
    serving: () => own.serving,
    trusts: () => enrolPath.trusts(),
    router,
    http: (socket: TLSSocket) => http.accept(socket),
    connectionsMax,
  };
  const balancers =
    record.proxyProtocol === undefined ? {} : { balancers: parseBalancers(record.proxyProtocol) };
  listener = await lifecycle.start(
    "listener",
    () =>
      listen(
        { clock, log, nowMs },
        {
          ...port,
          ...balancers,
          host: record.host,
          port: record.port,
          enrol: (request) => enrolPath.enrol(request),
        },
      ),
    (part) => part.close(),
  );
  // Commands on this machine do not come by a balancer.
  const loopback = record.host.startsWith("127.") ? record.host : "127.0.0.1";
  const local =
    record.proxyProtocol === undefined
      ? undefined
      : await lifecycle.start(
          "local listener",
          () =>
            listen(
              { clock, log, nowMs },
              { ...port, host: loopback, port: 0, accepts: () => false },
            ),
          (part) => part.close(),
        );
  const address = `${record.host}:${listener.port}`;
  const tellAccess = () =>
    writeAccess(dataDir, {
      server: `https://${local ? `${loopback}:${local.port}` : address}`,
      serverName: `api.${authority.trustDomain}`,
      ...own.administrator,
      anchorsPem: authority.trust.anchorsPem,
    });
  own.onChange(() => {
    listener?.refresh();
    local?.refresh();
    tellAccess();
  });
  tellAccess();
  const info: HubInfo = {
    name: record.name,
    dataDir,
    address,
    pid: process.pid,
    process: ownProcess(),
  };
  writeInfo(dataDir, "hub", info);
  log.info("hub is ready", {
    address,
    cells: registry.cells().length,
    data: kind.place,
  });
  options.onReady(info);

  const lost = await Promise.race([
    whenAborted(options.signal).then(() => undefined),
    thread.ended.then((cause) => ({ cause })),
    documentsThread.ended.then((cause) => ({ cause })),
  ]);
  await lifecycle.stop();
  if (lost)
    throw new SkerryError({
      code: "thread-ended",
      message: "the hub's storage thread ended, and nothing can be taken without it",
      hint: "the log says why; start the hub again",
      retryable: true,
      cause: lost.cause,
    });
}
