/**
 * One request on up to three endpoints. Another attempt is made only when it cannot do harm: nothing
 * was sent yet, or the method may be carried out twice; and only with a body that can be sent again.
 * A remote attempt that waits long is checked on: a machine that vanished never resets a connection.
 */
import type { Clock } from "../../../lib/clock.ts";
import type { Balancer } from "../../balance.ts";
import { endpointHeader } from "../../headers.ts";
import { addressOf, type RouteEndpoint } from "../../routes/table.ts";
import type { Counter } from "./counts.ts";
import { failureOf, NodeSilent, type Failure } from "./failure.ts";
import type { Upstreams } from "./upstreams.ts";
import type { Dispatcher } from "undici";

export type Attempt = {
  readonly endpoint: RouteEndpoint;
  readonly dispatcher: Dispatcher;
  /** To add to the request's headers. */
  readonly headers: readonly string[];
  readonly signal: AbortSignal;
};

export type AttemptsResult<T> =
  | { readonly state: "answered"; readonly answer: T; readonly done: () => void }
  | { readonly state: "no-endpoint" }
  | { readonly state: "failed"; readonly failure: Failure };

export type AttemptsDependencies = {
  readonly clock: Clock;
  readonly balancer: Balancer;
  readonly upstreams: Upstreams;
  readonly counter: Counter;
  readonly node: string;
};

const attemptsMax = 3;
/** Before the same endpoints are tried again: a pod or an agent that restarts needs a moment. */
const pauseMs = 100;
/** After this a remote node is asked whether it still takes connections. */
const silenceMs = 400;

/**
 * `send` resolves with the answer once its headers are there, or throws; `done` of the result must
 * be called when the answer has ended. Throws the signal's reason when the client went away.
 */
export async function attempts<T>(
  deps: AttemptsDependencies,
  request: {
    /** Asked before every attempt: the table may have changed. */
    readonly endpoints: () => readonly RouteEndpoint[];
    readonly isIdempotent: boolean;
    readonly isRepeatable: boolean;
    readonly signal: AbortSignal;
  },
  send: (attempt: Attempt) => Promise<T>,
): Promise<AttemptsResult<T>> {
  const tried = new Set<string>();
  const blamedNodes = new Set<string>();
  let failure: Failure | undefined;
  for (let number = 1; number <= attemptsMax; number++) {
    const endpoints = request.endpoints();
    const isTried = (endpoint: RouteEndpoint) =>
      tried.has(addressOf(endpoint)) || blamedNodes.has(endpoint.node);
    let endpoint = deps.balancer.pick(endpoints, isTried);
    if (!endpoint && failure) {
      await deps.clock.sleep(pauseMs * number, { signal: request.signal });
      endpoint = deps.balancer.pick(request.endpoints(), () => false);
    }
    if (!endpoint) return failure ? { state: "failed", failure } : { state: "no-endpoint" };
    if (number > 1) deps.counter.add("retries");

    const done = deps.balancer.begin(endpoint);
    try {
      const answer = await attempt(deps, endpoint, request.signal, send);
      deps.balancer.succeeded(endpoint);
      return { state: "answered", answer, done };
    } catch (error) {
      done();
      request.signal.throwIfAborted();
      failure = isFailure(error) ? error.failure : failureOf(error);
    }
    deps.counter.add("attempts-failed");
    deps.balancer.failed(endpoint, failure.blame);
    tried.add(addressOf(endpoint));
    if (failure.blame === "node") blamedNodes.add(endpoint.node);
    const mayRepeat =
      request.isRepeatable &&
      (failure.state === "not-sent" || (failure.state === "maybe-sent" && request.isIdempotent));
    if (!mayRepeat) break;
  }
  return failure ? { state: "failed", failure } : { state: "no-endpoint" };
}

/** For `send` to throw when the answer itself says that the attempt failed. */
export class AttemptFailed extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super("the attempt failed", { cause: failure.cause });
    this.failure = failure;
  }
}

const isFailure = (error: unknown): error is AttemptFailed => error instanceof AttemptFailed;

async function attempt<T>(
  deps: AttemptsDependencies,
  endpoint: RouteEndpoint,
  client: AbortSignal,
  send: (attempt: Attempt) => Promise<T>,
): Promise<T> {
  if (endpoint.node === deps.node) {
    const dispatcher = deps.upstreams.local(endpoint);
    return unlessAborted(client, send({ endpoint, dispatcher, headers: [], signal: client }));
  }
  const dispatcher = deps.upstreams.remote(endpoint.node);
  const watch = watchSilence(deps, endpoint.node, client);
  try {
    const headers = [endpointHeader, addressOf(endpoint)];
    const { signal } = watch;
    return await unlessAborted(signal, send({ endpoint, dispatcher, headers, signal }));
  } catch (error) {
    throw watch.silent() ?? error;
  } finally {
    watch.stop();
  }
}

/** undici does not hear an abort before it has a connection, and that may take as long as a handshake. */
async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * Aborts when the client went away, or when the node takes no connection any more. Once stopped, only
 * the client still aborts: the answer is on its way.
 */
function watchSilence(deps: AttemptsDependencies, node: string, client: AbortSignal) {
  const controller = new AbortController();
  let silent: NodeSilent | undefined;
  let stopped = false;
  const onClientGone = () => controller.abort(client.reason);
  if (client.aborted) onClientGone();
  else client.addEventListener("abort", onClientGone, { once: true });
  const ask = async () => {
    const answers = await deps.upstreams.probe(node);
    if (stopped) return;
    if (answers) {
      timer = deps.clock.after(silenceMs, () => void ask());
      return;
    }
    silent = new NodeSilent(`node ${node} takes no connections`);
    controller.abort(silent);
  };
  let timer = deps.clock.after(silenceMs, () => void ask());
  return {
    signal: controller.signal,
    silent: () => silent,
    stop() {
      stopped = true;
      timer.cancel();
    },
  };
}
