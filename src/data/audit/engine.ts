/**
 * Scans of this machine's files, and what is asked of them, in a thread of its own on read-only
 * connections: no writer waits for an audit, and none of its snapshots lasts longer than about a second.
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { PostgresAddress } from "../../runtime/postgres/index.ts";
import { createConnections, type Connections } from "../queries/connections.ts";
import { createBlockSums } from "./block-sums.ts";
import { createDocumentsReads, type DocumentsReads, type Narrow } from "./documents-reads.ts";
import {
  contentOf,
  keyTextOf,
  openEntriesReads,
  type EntriesReads,
  type NarrowBody,
  type OpenLogs,
} from "./entries-reads.ts";
import { lanesOf, printOfItem } from "./fingerprint.ts";
import { createKeySet, type KeySet } from "./key-set.ts";
import type { AuditLook, AuditSide, AuditWish } from "./sides.ts";

/** Absent: this machine keeps them elsewhere. */
export type AuditFiles = {
  readonly documentsPath?: string;
  readonly streamsPath?: string;
  /** Of a hub whose documents are there; whoever starts the engine reads them. */
  readonly postgres?: PostgresAddress;
};

export type AuditEngine = AuditSide & { readonly openScans: number; close(): void };

/** The gate's, where one's own store is held against the hub's. */
export type Narrowing = { readonly state: Narrow; readonly body: NarrowBody };

const scansMax = 8;
/** A scan that nobody asks for is forgotten. */
const idleMs = 120_000;
const snapshotMs = 1000;
const printsPerPage = 1000;
const keysPerAnswer = 64;

type Scan = {
  readonly wish: AuditWish;
  look: AuditLook;
  keys?: KeySet;
  failed?: unknown;
  isClosed: boolean;
  idle?: Timer;
};

export function createAuditEngine(
  deps: { clock: Clock; narrowing?: Narrowing; documents?: Connections<DocumentsReads> },
  files: AuditFiles,
): AuditEngine {
  const { clock, narrowing } = deps;
  const documents =
    files.documentsPath === undefined
      ? deps.documents
      : createConnections(deps, {
          path: files.documentsPath,
          reading: (db) => createDocumentsReads(db, narrowing?.state),
        });
  const streams =
    files.streamsPath === undefined
      ? undefined
      : createConnections(deps, {
          path: files.streamsPath,
          reading: (db) => () => openEntriesReads(db),
        });
  const scans = new Map<string, Scan>();
  let numbers = 0;

  const asking = <Reads, T>(connections: Connections<Reads>, ask: (reads: Reads) => T) =>
    connections.use(function* (reads) {
      yield;
      return ask(reads);
    });
  const scanOf = (id: string): Scan => {
    const scan = scans.get(id);
    if (!scan) {
      throw new SkerryError({
        code: "audit-forgotten",
        message: "nobody asked for this scan in a while, or it was closed",
        hint: "compare again",
        retryable: true,
      });
    }
    if (scan.failed !== undefined) throw scan.failed;
    scan.idle?.cancel();
    scan.idle = clock.after(idleMs, () => drop(id));
    return scan;
  };
  const drop = (id: string) => {
    const scan = scans.get(id);
    if (!scan) return;
    scan.isClosed = true;
    scan.idle?.cancel();
    scans.delete(id);
  };
  const keysOf = (id: string): KeySet => {
    const { keys } = scanOf(id);
    if (keys) return keys;
    throw new SkerryError({ code: "audit-forgotten", message: "the scan is not at its end yet" });
  };
  const bodyOf =
    ({ policy }: AuditWish) =>
    (body: Uint8Array): Uint8Array =>
      policy && narrowing ? narrowing.body(body, policy) : body;

  /** Documents of a scan that was opened: where they are in the file. */
  const foundIn = (reads: DocumentsReads, { name, scope }: AuditWish) => {
    const found = reads.find(name, scope);
    if (found.state === "found") return found;
    throw new SkerryError({ code: "audit-forgotten", message: found.reason, retryable: true });
  };
  const logsIn = (open: EntriesReads, { name, scope }: AuditWish): OpenLogs | undefined =>
    open.open(name, scope ?? "");
  const elsewhere = (scan: Scan) => {
    scan.look = { state: "absent", reason: "this machine does not keep it in a file of its own" };
  };

  const scanDocuments = async (scan: Scan): Promise<void> => {
    if (!documents) return elsewhere(scan);
    const { wish } = scan;
    const found = await asking(documents, (reads) => {
      const at = reads.find(wish.name, wish.scope);
      return at.state === "found" ? { ...at, vector: reads.applied(at.prefix) } : at;
    });
    if (found.state === "absent") return void (scan.look = found);
    const { number, prefix, vector, documents: of } = found;
    const keys = createKeySet();
    for (let after: string | undefined, more = number !== undefined; more && !scan.isClosed;) {
      more = await documents.use(function* (reads) {
        const untilMs = clock.monotonicMs() + snapshotMs;
        const at = { number: number ?? 0, prefix, range: { from: "" }, after };
        for (const { id, content } of reads.walk(at, wish.policy)) {
          keys.add(id, lanesOf(content));
          after = id;
          yield;
          if (clock.monotonicMs() >= untilMs) return true;
        }
        return false;
      });
      scan.look = { state: "scanning", seen: keys.size, of: Math.max(of, keys.size) };
    }
    scan.keys = keys;
    scan.look = { state: "scanned", items: keys.size, vector, logs: [] };
  };
  const scanEntries = async (scan: Scan): Promise<void> => {
    if (!streams) return elsewhere(scan);
    const { wish } = scan;
    const sums = createBlockSums();
    const narrowed = bodyOf(wish);
    const found = await asking(streams, (open) => {
      const logs = logsIn(open(), wish);
      return { logs: logs?.held() ?? [], entries: logs?.entries ?? 0 };
    });
    for (let afterId = 0, more = true; more && !scan.isClosed;) {
      more = await streams.use(function* (open) {
        const logs = logsIn(open(), wish);
        if (!logs) return false;
        for (const untilMs = clock.monotonicMs() + snapshotMs; ;) {
          const page = logs.page(afterId);
          for (const entry of page.entries)
            sums.add(entry.position, lanesOf(contentOf(entry, narrowed)));
          afterId = page.next;
          yield;
          if (!page.more) return false;
          if (clock.monotonicMs() >= untilMs) return true;
        }
      });
      scan.look = { state: "scanning", seen: sums.entries, of: found.entries };
    }
    scan.keys = sums.toKeySet();
    scan.look = { state: "scanned", items: sums.entries, vector: {}, logs: found.logs };
  };

  return {
    get openScans() {
      return scans.size;
    },
    async names({ scope }) {
      const [collection, stream] = await Promise.all([
        documents ? asking(documents, (reads) => reads.names(scope)) : [],
        streams ? asking(streams, (open) => open().names(scope ?? "")) : [],
      ]);
      return { collection, stream };
    },
    async open(wish) {
      if (scans.size >= scansMax) {
        throw new SkerryError({
          code: "store-busy",
          message: `${scansMax} scans are open here`,
          hint: "compare when others have ended",
          retryable: true,
        });
      }
      const id = String(++numbers);
      const scan: Scan = { wish, look: { state: "scanning", seen: 0, of: 0 }, isClosed: false };
      scans.set(id, scan);
      scanOf(id);
      const scanning = wish.kind === "collection" ? scanDocuments(scan) : scanEntries(scan);
      scanning.catch((error: unknown) => {
        scan.failed = error;
      });
      return { scan: id };
    },
    look: async ({ scan }) => scanOf(scan).look,
    async prints({ scan, ranges }) {
      const keys = keysOf(scan);
      return ranges.map((range) => keys.part(range));
    },
    async split({ scan, ranges, parts }) {
      const keys = keysOf(scan);
      return ranges.map((range) => keys.split(range, parts));
    },
    keys: async ({ scan, range }) => keysOf(scan).keys(range, keysPerAnswer),
    async documentPrints({ scan, range, after }) {
      const { wish } = scanOf(scan);
      if (!documents) return { prints: [], more: false };
      return documents.use(function* (reads) {
        const { number, prefix } = foundIn(reads, wish);
        const prints: [string, string][] = [];
        if (number === undefined) return { prints, more: false };
        for (const { id, content } of reads.walk({ number, prefix, range, after }, wish.policy)) {
          if (prints.length >= printsPerPage) return { prints, more: true };
          prints.push([id, printOfItem(content)]);
          yield;
        }
        return { prints, more: false };
      });
    },
    async documents({ scan, ids }) {
      const { wish } = scanOf(scan);
      if (!documents) return { applied: {}, documents: [] };
      return asking(documents, (reads) => {
        const { number = -1, prefix } = foundIn(reads, wish);
        return {
          applied: reads.applied(prefix),
          documents: ids.map((id) => reads.document({ number, prefix, id }, wish.policy)),
        };
      });
    },
    async entries({ scan, ...at }) {
      const { wish } = scanOf(scan);
      const nothing = { first: 1, top: 0, entries: [] };
      if (!streams) return nothing;
      const narrowed = bodyOf(wish);
      return asking(streams, (open) => {
        const logs = logsIn(open(), wish);
        if (!logs) return nothing;
        const { first, top } = logs.heldOf(at.origin);
        const { entries, damaged } = logs.positions(at);
        return {
          first,
          top,
          entries: entries.map((entry) => ({
            position: entry.position.sequence,
            print: printOfItem(contentOf(entry, narrowed)),
            ...keyTextOf(entry),
          })),
          ...(damaged === undefined ? {} : { damaged }),
        };
      });
    },
    async removed({ scan, keys }) {
      const { wish } = scanOf(scan);
      if (!streams) return keys.map(() => false);
      return asking(
        streams,
        (open) => logsIn(open(), wish)?.removed(keys) ?? keys.map(() => false),
      );
    },
    async forget({ scan }) {
      drop(scan);
    },
    close() {
      for (const id of [...scans.keys()]) drop(id);
      documents?.close();
      streams?.close();
    },
  };
}
