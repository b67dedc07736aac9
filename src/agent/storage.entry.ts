/**
 * The storage thread: every SQLite writer of a node, and the egress gate for what those stores send.
 * What passes between threads are batches; the halves on the other side stand in `paths/`.
 */
import { join } from "node:path";
import {
  encodeLeaving,
  encodeLeavingSnapshot,
  openDocumentStore,
  serveDocumentStore,
} from "../data/documents/index.ts";
import {
  encodeBatch,
  openStreamStore,
  serveStreamStore,
  type StreamEmit,
  type StreamEvents,
} from "../data/streams/index.ts";
import { openDeadLetterFile, serveDeadLetterStore } from "../ingest/dead-letters-state/index.ts";
import { openMqttState, serveMqttState } from "../ingest/mqtt-state/index.ts";
// Not the room's front door: behind it stand etcd and zod, 5 MB that this thread never uses.
import { openSqliteLedger } from "../ledger/sqlite/index.ts";
import { serveLedger, type LedgerEmit, type LedgerThreadEvents } from "../ledger/thread/index.ts";
import { createGate, createOperationGate } from "../privacy/gate/index.ts";
import { openMirrorStore, serveMirrorStore } from "../resources/mirror-store/index.ts";
import { systemClock, systemRandom } from "../runtime/clock/index.ts";
import { createLog } from "../runtime/log/index.ts";
import { openBallast, withBallast } from "../runtime/sqlite/index.ts";
import { serveThread, threadData, type ThreadHost } from "../runtime/thread/index.ts";
import { ledgerFile } from "./data-folder.ts";
import type { StorageData, StorageEvents } from "./storage.ts";

const { dataDir, node, holdsLedger, logLevel, logPath } = threadData<StorageData>();
const log = createLog({
  level: logLevel,
  path: logPath,
  fields: { agent: node, thread: "storage" },
});
const deps = { clock: systemClock, random: systemRandom, log };

/** A node starts on a full disk as well. */
const ballast = openBallast(join(dataDir, "ballast"));
const opening = <T>(open: (path: string) => T, file: string): T =>
  withBallast(ballast, () => open(join(dataDir, file)));

const streams = opening((path) => openStreamStore(deps, { path, node, ballast }), "streams.db");
const documents = opening((path) => openDocumentStore(deps, { path, node }), "documents.db");
const mirror = opening((path) => openMirrorStore(deps, { path }), "mirror.db");
const mqtt = opening((path) => openMqttState(deps, { path }), "mqtt.db");
const letters = openDeadLetterFile(deps, { path: join(dataDir, "dead-letters.db") });
const gate = createGate({ encode: encodeBatch, log });
const operationGate = createOperationGate({
  encode: encodeLeaving,
  encodeSnapshot: encodeLeavingSnapshot,
  log,
});
const ledger = holdsLedger
  ? withBallast(ballast, () => openSqliteLedger({ ...deps, path: ledgerFile(dataDir), name: node }))
  : undefined;

/** Events of the ledger are events of this thread. */
const emit: LedgerEmit = (name, event) =>
  (host as ThreadHost<LedgerThreadEvents>).emit(name, event);
const emitStream: StreamEmit = (name, event) =>
  (host as ThreadHost<StreamEvents>).emit(name, event);
const host: ThreadHost<StorageEvents> = serveThread<StorageEvents>({
  ...serveStreamStore({ store: streams, gate }, emitStream),
  ...serveDocumentStore({ store: documents, gate: operationGate }, (name, event) =>
    host.emit(name, event),
  ),
  ...serveMirrorStore(mirror),
  ...serveMqttState(mqtt),
  ...serveDeadLetterStore(letters),
  ...(ledger ? serveLedger(ledger, emit) : {}),
});
