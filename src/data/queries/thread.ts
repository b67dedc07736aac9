/**
 * The main thread's half: queries go to a thread of their own, which is started by the first one and
 * ended when none came for a while. What takes too much memory there ends that thread, and nothing
 * else (Q5).
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { entryUrl } from "../../runtime/child/index.ts";
import { startThread, type Thread } from "../../runtime/thread/index.ts";
import type { DocumentsRequest } from "./engine.ts";
import type { QueryPage } from "./query.ts";

export type QueriesData = { readonly documentsPath: string };

export type QueryMethods = {
  "queries.documents"(request: DocumentsRequest): Promise<QueryPage>;
};

export interface Queries {
  /** Throws `collection-unknown`, `invalid-cursor`, `query-too-dear`, `store-busy`, `closed`. */
  documents(request: DocumentsRequest): Promise<QueryPage>;
  stop(): Promise<void>;
}

const idleMsDefault = 60_000;
const heapMbMax = 256;

export function createQueries(
  { clock }: { clock: Clock },
  options: QueriesData & { idleMs?: number },
): Queries {
  const { documentsPath, idleMs = idleMsDefault } = options;
  let thread: Promise<Thread<QueryMethods>> | undefined;
  let working = 0;
  let idle: Timer | undefined;
  let isStopped = false;

  const start = (): Promise<Thread<QueryMethods>> => {
    const starting = startThread<QueryMethods>(entryUrl(import.meta.url, "./queries.entry"), {
      name: "queries",
      data: { documentsPath } satisfies QueriesData,
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

  return {
    async documents(request) {
      idle?.cancel();
      working++;
      try {
        return await (await running()).call("queries.documents", request);
      } finally {
        if (--working === 0) idle = clock.after(idleMs, () => void end());
      }
    },
    async stop() {
      isStopped = true;
      await end();
    },
  };
}
