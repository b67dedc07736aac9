/**
 * One request on up to three endpoints. Another attempt is made only when it cannot do harm: nothing
 * was sent yet, or the method may be carried out twice; and only with a body that can be sent again.
 * A remote attempt that waits long is checked on: a machine that vanished never resets a connection.
 */
import type { Dispatcher } from "undici";
import type { Clock, Timer } from "../../../lib/clock.ts";
import type { Balancer } from "../../balance.ts";
import { endpointHeader } from "../../headers.ts";
import { addressOf, type RouteEndpoint } from "../../routes/table.ts";
import type { Counter } from "./counts.ts";
import { failureOf, NodeSilent, type Failure } from "./failure.ts";
import type { Upstreams } from "./upstreams.ts";

export type Attempt = {
  readonly endpoint: RouteEndpoint;
  readonly dispatcher: Dispatcher;
  /** To add to the request's headers. */
  readonly headers: readonly string[];
};

/** An attempt under way. */
export type Sent<T> = {
  /** The answer, once its head is there; rejects when there will be none. */
  readonly accepted: Promise<T>;
  /** Makes `accepted` reject at once, unless it has resolved. */
  abort(reason: Error): void;
};

/** The client of a request, and how an attempt learns that it went away. */
export type Client = { gone?: Error; onGone?: (reason: Error) => void };

export function clientGone(client: Client): void {
  client.gone = new Error("the client went away");
  client.onGone?.(client.gone);
}

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
 * `done` of the result must be called when the answer has ended. Throws `client.gone` when the
 * client went away before there was an answer.
 */
export async function attempts<T>(
  deps: AttemptsDependencies,
  request: {
    /** Asked before every attempt: the table may have changed. */
    readonly endpoints: () => readonly RouteEndpoint[];
    readonly isIdempotent: boolean;
    readonly isRepeatable: boolean;
    readonly client: Client;
  },
  send: (attempt: Attempt) => Sent<T>,
): Promise<AttemptsResult<T>> {
  const { client } = request;
  const tried = new Set<string>();
  const blamedNodes = new Set<string>();
  let failure: Failure | undefined;
  for (let number = 1; number <= attemptsMax; number++) {
    const isTried = (endpoint: RouteEndpoint) =>
      tried.has(addressOf(endpoint)) || blamedNodes.has(endpoint.node);
    let endpoint = deps.balancer.pick(request.endpoints(), isTried);
    if (!endpoint && failure) {
      await deps.clock.sleep(pauseMs * number);
      endpoint = deps.balancer.pick(request.endpoints(), () => false);
    }
    if (client.gone) throw client.gone;
    if (!endpoint) break;
    if (number > 1) deps.counter.add("retries");

    const done = deps.balancer.begin(endpoint);
    try {
      const answer = await attempt(deps, endpoint, client, send);
      deps.balancer.succeeded(endpoint);
      return { state: "answered", answer, done };
    } catch (error) {
      done();
      if (client.gone) throw client.gone;
      failure = failureOf(error);
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

async function attempt<T>(
  deps: AttemptsDependencies,
  endpoint: RouteEndpoint,
  client: Client,
  send: (attempt: Attempt) => Sent<T>,
): Promise<T> {
  const isNear = endpoint.node === deps.node;
  const sent = isNear
    ? send({ endpoint, dispatcher: deps.upstreams.local(endpoint), headers: [] })
    : send({
        endpoint,
        dispatcher: deps.upstreams.remote(endpoint.node),
        headers: [endpointHeader, addressOf(endpoint)],
      });
  client.onGone = sent.abort;
  if (isNear) return sent.accepted;
  const watch = watchSilence(deps, endpoint.node, sent.abort);
  try {
    return await sent.accepted;
  } finally {
    watch.cancel();
  }
}

/** Gives an attempt up when its node takes no connections any more; until then it may take its time. */
function watchSilence(
  deps: AttemptsDependencies,
  node: string,
  abort: (reason: Error) => void,
): Timer {
  let cancelled = false;
  const ask = async () => {
    const answers = await deps.upstreams.probe(node);
    if (cancelled) return;
    if (answers) timer = deps.clock.after(silenceMs, () => void ask());
    else abort(new NodeSilent(`node ${node} takes no connections`));
  };
  let timer = deps.clock.after(silenceMs, () => void ask());
  return {
    cancel() {
      cancelled = true;
      timer.cancel();
    },
  };
}
