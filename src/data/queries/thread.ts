/**
 * The main thread's half: queries go to a thread of their own, which is started by the first one and
 * ended when none came for a while. What takes too much memory there ends that thread, and nothing
 * else (Q5).
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import { startThread, type Thread } from "../../runtime/thread/index.ts";
import type { EntriesRequest, QueryEngine, QueryFiles } from "./engine.ts";
import type { LiveEngine, LiveRequest, Looked } from "./live.ts";
import type { DocumentsRequest, QueryPage } from "./query.ts";

export type QueryMethods = {
  "queries.documents"(request: DocumentsRequest): Promise<QueryPage>;
  "queries.entries"(request: EntriesRequest): Promise<QueryPage>;
  "queries.open"(request: LiveRequest): Promise<readonly string[]>;
  "queries.look"(lives: readonly number[]): Promise<Looked>;
  "queries.close"(live: number): void;
};

/** The live queries of the thread; without any it may end. */
export type LiveThread = Pick<LiveEngine, "open" | "look"> & {
  /** Does not start a thread, nor wait for it. */
  close(live: number): void;
};

/** Throws `thread-ended` besides. */
export type Queries = Pick<QueryEngine, "documents" | "entries"> & {
  readonly live: LiveThread;
  stop(): Promise<void>;
};

const idleMsDefault = 60_000;
const heapMbMax = 256;

export function createQueries(
  { clock }: { clock: Clock },
  options: QueryFiles & { idleMs?: number },
): Queries {
  const { idleMs = idleMsDefault, ...files } = options;
  let thread: Promise<Thread<QueryMethods>> | undefined;
  let working = 0;
  const lives = new Set<number>();
  let idle: Timer | undefined;
  let isStopped = false;

  const start = (): Promise<Thread<QueryMethods>> => {
    const starting = startThread<QueryMethods>(entryUrl(import.meta.url, "./queries.entry"), {
      name: "queries",
      data: files satisfies QueryFiles,
      heapMbMax,
    });
    const forget = () => {
      if (thread === starting) thread = undefined;
    };
    starting.then(({ ended }) => ended).then(forget, forget);
    return starting;
  };
  const end = async (): Promise<void> => {
    idle?.cancel();
    const ending = thread;
    thread = undefined;
    await (await ending)?.terminate();
  };
  const running = (): Promise<Thread<QueryMethods>> => {
    if (isStopped)
      throw new SkerryError({ code: "closed", message: "queries ended here", retryable: true });
    thread ??= start();
    return thread;
  };

  const asked = async <T>(ask: (thread: Thread<QueryMethods>) => Promise<T>): Promise<T> => {
    idle?.cancel();
    working++;
    try {
      return await ask(await running());
    } finally {
      working--;
      rest();
    }
  };
  const rest = () => {
    idle?.cancel();
    if (working === 0 && lives.size === 0) idle = clock.after(idleMs, () => void end());
  };

  return {
    documents: (request) => asked((thread) => thread.call("queries.documents", request)),
    entries: (request) => asked((thread) => thread.call("queries.entries", request)),
    live: {
      async open(request) {
        lives.add(request.live);
        try {
          return await asked((thread) => thread.call("queries.open", request));
        } catch (error) {
          lives.delete(request.live);
          rest();
          throw error;
        }
      },
      look: (numbers) => asked((thread) => thread.call("queries.look", numbers)),
      close(live) {
        if (!lives.delete(live)) return;
        rest();
        const forget = async () => (await thread)?.call("queries.close", live);
        // A thread that ended holds nothing any more.
        forget().catch(() => undefined);
      },
    },
    async stop() {
      isStopped = true;
      await end();
    },
  };
}
