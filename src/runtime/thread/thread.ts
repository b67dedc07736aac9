/**
 * Worker threads with a typed request and event channel. Requests carry arrays and bytes, not
 * records one by one; errors cross through the codec of `lib/errors`. A thread that ends rejects
 * every request that waits, so nobody hangs on a dead thread.
 */
import { flushCompileCache } from "node:module";
import { parentPort, Worker, workerData, type Transferable } from "node:worker_threads";
import { settleOwnHeap } from "../heap/index.ts";
import {
  decodeError,
  encodeError,
  SkerryError,
  systemCode,
  type EncodedError,
} from "../../lib/errors.ts";

/** What a thread offers: `{ append(batch: Batch): Promise<Result> }`; one argument each. */
export type ThreadMethods = Record<string, (argument: never) => unknown>;
/** What a thread says by itself, by name. */
export type ThreadEvents = Record<string, unknown>;

type Request = { readonly id: number; readonly method: string; readonly argument: unknown };
type Reply =
  | { readonly type: "ready" }
  | { readonly type: "done"; readonly id: number; readonly value: unknown }
  | { readonly type: "failed"; readonly id: number; readonly error: EncodedError }
  | { readonly type: "event"; readonly name: string; readonly event: unknown };

type ArgumentOf<F> = F extends (argument: infer A) => unknown ? A : never;
type ResultOf<F> = F extends (argument: never) => infer R ? Awaited<R> : never;

export interface Thread<
  Methods extends ThreadMethods,
  Events extends ThreadEvents = Record<string, never>,
> {
  call<Name extends keyof Methods & string>(
    method: Name,
    argument: ArgumentOf<Methods[Name]>,
    options?: { transfer?: Transferable[] },
  ): Promise<ResultOf<Methods[Name]>>;
  on<Name extends keyof Events & string>(
    name: Name,
    listener: (event: Events[Name]) => void,
  ): () => void;
  /** Resolves when the thread has ended, with the reason when it was a failure. */
  readonly ended: Promise<Error | undefined>;
  terminate(): Promise<void>;
}

/** Starts the entry as a worker and resolves once it called `serveThread`. */
export async function startThread<
  Methods extends ThreadMethods,
  Events extends ThreadEvents = Record<string, never>,
>(
  url: URL,
  options: { name: string; data?: unknown; heapMbMax?: number },
): Promise<Thread<Methods, Events>> {
  const worker = new Worker(url, {
    name: options.name,
    workerData: options.data,
    ...(options.heapMbMax === undefined
      ? {}
      : { resourceLimits: { maxOldGenerationSizeMb: options.heapMbMax } }),
  });
  const waitingById = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: unknown) => void }
  >();
  const listenersByName = new Map<string, Set<(event: never) => void>>();
  let nextId = 1;
  let over: SkerryError | undefined;

  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<Error | undefined>();
  let failure: Error | undefined;
  worker.on("error", (error) => {
    failure = error instanceof Error ? error : new Error(String(error));
  });
  worker.on("exit", () => {
    over = new SkerryError({
      code: "thread-ended",
      message: `the ${options.name} thread ended`,
      retryable: true,
      cause: failure,
    });
    // A thread that never became ready says best itself why: `store-damaged` and what to do.
    ready.reject(isCoded(failure) ? decodeError(encodeThrown(failure)) : over);
    for (const { reject } of waitingById.values()) reject(over);
    waitingById.clear();
    ended.resolve(failure);
  });
  worker.on("message", (reply: Reply) => {
    switch (reply.type) {
      case "ready":
        return ready.resolve();
      case "event":
        for (const listener of listenersByName.get(reply.name) ?? [])
          listener(reply.event as never);
        return;
      case "done":
      case "failed": {
        const waiting = waitingById.get(reply.id);
        waitingById.delete(reply.id);
        if (reply.type === "done") waiting?.resolve(reply.value as never);
        else waiting?.reject(decodeError(reply.error));
      }
    }
  });
  await ready.promise;

  return {
    call(method, argument, callOptions) {
      if (over) return Promise.reject(over);
      const id = nextId++;
      return new Promise((resolve, reject) => {
        // Throws when the argument cannot be cloned; then nothing waits.
        worker.postMessage({ id, method, argument } satisfies Request, callOptions?.transfer ?? []);
        waitingById.set(id, { resolve: resolve as (value: never) => void, reject });
      });
    },
    on(name, listener) {
      const listeners = listenersByName.get(name) ?? new Set();
      listenersByName.set(name, listeners);
      listeners.add(listener as (event: never) => void);
      return () => void listeners.delete(listener as (event: never) => void);
    },
    ended: ended.promise,
    async terminate() {
      await worker.terminate();
      await ended.promise;
    },
  };
}

/** Node clones a thrown error with its own fields but without its class. */
function isCoded(error: Error | undefined): error is Error & { code: string } {
  return error?.name === "SkerryError" && systemCode(error) !== undefined;
}

function encodeThrown(error: Error & { code: string; hint?: unknown; retryable?: unknown }) {
  return {
    ...encodeError(error),
    ...(typeof error.hint === "string" ? { hint: error.hint } : {}),
    retryable: error.retryable === true,
  };
}

export interface ThreadHost<Events extends ThreadEvents> {
  emit<Name extends keyof Events & string>(
    name: Name,
    event: Events[Name],
    transfer?: Transferable[],
  ): void;
}

/** Inside the entry: answers requests with `methods` and says that the thread is ready. */
export function serveThread<Events extends ThreadEvents = Record<string, never>>(
  methods: ThreadMethods,
): ThreadHost<Events> {
  const port = parentPort;
  if (!port)
    throw new SkerryError({
      code: "internal",
      message: "serveThread runs in a worker thread only",
    });
  port.on("message", (request: Request) => {
    const method = methods[request.method] as ((argument: unknown) => unknown) | undefined;
    const fail = (error: unknown) =>
      port.postMessage({
        type: "failed",
        id: request.id,
        error: encodeError(error),
      } satisfies Reply);
    Promise.try(() => {
      if (!method)
        throw new SkerryError({
          code: "internal",
          message: `no thread method "${request.method}"`,
        });
      return method(request.argument);
    })
      .then((value) => port.postMessage({ type: "done", id: request.id, value } satisfies Reply))
      // Also what cannot be cloned lands here: a caller must not wait for an answer that never comes.
      .catch(fail);
  });
  port.postMessage({ type: "ready" } satisfies Reply);
  // A thread has a cache of its own; a process that is killed keeps none by itself.
  setImmediate(flushCompileCache);
  settleOwnHeap();
  return {
    emit(name, event, transfer) {
      port.postMessage({ type: "event", name, event } satisfies Reply, transfer ?? []);
    },
  };
}

/** What `startThread` was given as `data`. */
export function threadData<T>(): T {
  return workerData as T;
}
