/** What the storage thread offers, for both its halves. */
import type {
  DocumentEvents,
  DocumentMethods,
  StreamEvents,
  StreamMethods,
} from "../data/index.ts";
import type { DeadLetterMethods } from "../ingest/dead-letters-state/index.ts";
import type { MqttStateMethods } from "../ingest/mqtt-state/index.ts";
import type { LedgerMethods, LedgerThreadEvents } from "../ledger/index.ts";
import type { Cleared } from "../privacy/gate/index.ts";
import type { MirrorStoreMethods } from "../resources/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { LogLevel } from "../runtime/log/index.ts";
import type { Thread } from "../runtime/thread/index.ts";

/** What the thread is started with. */
export type StorageData = {
  readonly dataDir: string;
  readonly node: string;
  /** Whether the cell's ledger is a file of this thread: on the only server of a cell. */
  readonly holdsLedger: boolean;
  readonly logLevel: LogLevel;
  readonly logPath: string;
};

/** Towards the hub go only bytes that passed the gate; this is where `data` learns their type. */
export type ClearedBytes = Cleared<Uint8Array>;

export type StorageMethods = StreamMethods<ClearedBytes> &
  DocumentMethods<ClearedBytes> &
  MirrorStoreMethods &
  MqttStateMethods &
  DeadLetterMethods &
  LedgerMethods;
export type StorageEvents = StreamEvents & DocumentEvents & LedgerThreadEvents;
export type StorageThread = Thread<StorageMethods, StorageEvents>;

/** Resolves when the thread is gone: everything that is kept goes through it, so nothing goes on without. */
export async function storageLost(thread: Pick<StorageThread, "ended">): Promise<SkerryError> {
  const cause = await thread.ended;
  return new SkerryError({
    code: "thread-ended",
    message: "the storage thread ended, and nothing can be kept without it",
    hint: "the log says why; the agent is started again by itself",
    retryable: true,
    cause,
  });
}
