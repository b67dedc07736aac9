/**
 * Room on a full disk. First what the store can do without losing anything (`relief`): its log is moved
 * into the file, and pages that are free there are used. Then by declared policy: of streams that say
 * `whenFull: drop` the oldest entries go, those of the lowest priority first, and each is counted. A
 * stream that says nothing loses nothing: its appends are refused until there is room (D8).
 */
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Relief, Writer } from "../../runtime/sqlite/index.ts";
import type { Backlog } from "../tables/backlog.ts";
import type { StreamRow } from "../tables/names.ts";
import type { Tables } from "../tables/tables.ts";
import type { StreamDeclaration } from "./store.ts";

/** Two of them find room without dropping anything. */
const triesMax = 5;
/** Freed at least, so that not every append begins with it. */
const freedBytesMin = 512 * 1024;

export type Shedding = {
  /**
   * Runs `work`; when the disk is full, makes room by streams of no higher priority than these have,
   * and runs it again. Throws what `work` throws.
   */
  withRoom<T>(
    need: { streams: Iterable<string>; bytes: number },
    work: () => Promise<T>,
  ): Promise<T>;
  /** Runs `work`, which itself makes room, and again where the disk is too full even for that. */
  withRelief<T>(work: () => Promise<T>): Promise<T>;
};

export function createShedding(
  deps: {
    readonly writer: Writer;
    readonly tables: Tables;
    readonly backlog: Backlog;
    readonly log: Log;
    readonly relief: Relief | undefined;
  },
  declared: () => ReadonlyMap<string, StreamDeclaration>,
): Shedding {
  const { writer, tables, backlog, log, relief } = deps;
  const { names, retention } = tables;
  let running: Promise<boolean> | undefined;
  const priorityOf = (name: string) => declared().get(name)?.priority ?? 0;

  /** Inside a transaction: the oldest, `bytes` of them as far as one step of retention goes. */
  const drop = (id: number, bytes: number): { entries: number; bytes: number } => {
    const stream: StreamRow = names.streamById(id);
    const before = stream.bytes;
    const { removed, unsent } = retention.step(stream, {
      bytesMax: Math.max(0, before - bytes),
      keepForHub: declared().get(stream.name)?.egress !== undefined && backlog.hubExpected,
    });
    backlog.subtract(stream, unsent);
    stream.droppedWhenFull += removed;
    stream.changed = true;
    names.writeCounters();
    return { entries: removed, bytes: before - stream.bytes };
  };

  const withRelief = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (!isFull(error) || !relief?.relieve()) throw error;
      return work();
    }
  };

  const makeRoom = async (priorityMax: number, bytes: number): Promise<boolean> => {
    if (relief?.relieve()) return true;
    const wanted = Math.max(freedBytesMin, 2 * bytes);
    const candidates = names
      .streams()
      .filter(({ name }) => declared().get(name)?.retention.whenFull === "drop")
      .filter(({ name }) => priorityOf(name) <= priorityMax)
      .sort((a, b) => priorityOf(a.name) - priorityOf(b.name) || b.bytes - a.bytes);
    let freed = 0;
    for (const { id, name } of candidates) {
      let entries = 0;
      while (freed < wanted && names.streamById(id).entries > 0) {
        const dropped = await writer.write(() => drop(id, wanted - freed));
        if (dropped.entries === 0) break;
        entries += dropped.entries;
        freed += dropped.bytes;
      }
      if (entries > 0)
        log.warn("the disk is full: oldest entries were dropped", { stream: name, entries });
    }
    return freed > 0;
  };

  const start = (priorityMax: number, bytes: number): Promise<boolean> => {
    running = makeRoom(priorityMax, bytes).finally(() => (running = undefined));
    return running;
  };

  return {
    async withRoom({ streams, bytes }, work) {
      const priorityMax = Math.max(...[...streams].map(priorityOf));
      for (let tries = 1; ; tries++) {
        try {
          return await work();
        } catch (error) {
          if (!isFull(error) || tries > triesMax) throw error;
          // What somebody else frees meanwhile is mostly enough for all that failed with it.
          if (running) await running;
          else if (!(await start(priorityMax, bytes))) throw error;
        }
      }
    },
    withRelief,
  };
}

const isFull = (error: unknown) => error instanceof SkerryError && error.code === "disk-full";
