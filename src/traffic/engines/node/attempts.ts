/**
 * One request on up to three endpoints. Another attempt is made only when it cannot do harm: nothing
 * was sent yet, or it may be carried out twice; only with a body that can be sent again; and only
 * within the retry budget. An attempt at a node that falls silent moves on without waiting for it.
 */
import type { Dispatcher } from "undici";
import type { Clock } from "../../../lib/clock.ts";
import { explain } from "../../../lib/errors.ts";
import type { Balancer, Turn } from "../../balance.ts";
import { endpointHeader } from "../../headers.ts";
import type { RetryBudget } from "../../retry-budget.ts";
import { addressOf, type RouteEndpoint } from "../../routes/table.ts";
import type { Counter } from "./counts.ts";
import { AttemptFailed, failureOf, type Failure } from "./failure.ts";
import type { NodeWatch, WatchedTurn } from "./node-watch.ts";
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
  /** Whether something of it may have been written to a connection. */
  readonly started: () => boolean;
  /** Makes `accepted` reject at once; an answer that has begun is cut. */
  abort(reason: Error): void;
};

/** The client of a request, and how an attempt learns that it went away. */
export type Client = { gone?: Error; onGone?: (reason: Error) => void };

export function clientGone(client: Client, reason = new Error("the client went away")): void {
  client.gone = reason;
  client.onGone?.(reason);
}

export type AttemptsResult<T> =
  | { readonly state: "answered"; readonly answer: T; readonly done: () => void }
  | { readonly state: "no-endpoint" }
  | { readonly state: "failed"; readonly failure: Failure };

export type AttemptsDependencies = {
  readonly clock: Clock;
  readonly balancer: Balancer;
  readonly budget: RetryBudget;
  readonly nodeWatch: NodeWatch;
  readonly upstreams: Upstreams;
  readonly counter: Counter;
  readonly node: string;
};

export type AttemptsRequest = {
  /** Asked before every attempt: the table may have changed. */
  readonly endpoints: () => readonly RouteEndpoint[];
  /** May be carried out twice. */
  readonly isIdempotent: boolean;
  /** Its body can be sent again. */
  readonly isRepeatable: boolean;
  readonly client: Client;
};

const attemptsMax = 3;
/** Before the same endpoints are tried again: a pod or an agent that restarts needs a moment. */
const pauseMs = 100;

/**
 * `done` of the result must be called when the answer has ended. Throws `client.gone` when the
 * client went away before there was an answer.
 */
export async function attempts<T>(
  deps: AttemptsDependencies,
  request: AttemptsRequest,
  send: (attempt: Attempt) => Sent<T>,
): Promise<AttemptsResult<T>> {
  const { client } = request;
  const tried = new Set<string>();
  const blamedNodes = new Set<string>();
  const isTried = (endpoint: RouteEndpoint) =>
    tried.has(addressOf(endpoint)) || blamedNodes.has(endpoint.node);
  deps.budget.request();
  let failure: Failure | undefined;
  for (let number = 1; number <= attemptsMax; number++) {
    let endpoint = deps.balancer.pick(request.endpoints(), isTried);
    if (!endpoint && failure) {
      await deps.clock.sleep(pauseMs * number);
      endpoint = deps.balancer.pick(request.endpoints(), () => false);
    }
    if (client.gone) throw client.gone;
    if (!endpoint) break;
    if (failure && !mayRetry(deps, failure)) break;

    const picked = endpoint;
    const canMove = (started: boolean) =>
      request.isRepeatable &&
      (request.isIdempotent || !started) &&
      number < attemptsMax &&
      deps.budget.hasLeft &&
      deps.balancer.hasGood(
        request.endpoints(),
        (other) => isTried(other) || other.node === picked.node,
      );
    const result = await attempt(deps, { endpoint, request, canMove }, send);
    if (result.state === "answered") return result;
    if (client.gone) throw client.gone;
    failure = result.failure;
    deps.counter.add(`attempts-failed:${failure.state}`);
    tried.add(addressOf(endpoint));
    if (failure.blame === "node") blamedNodes.add(endpoint.node);
    const mayRepeat =
      request.isRepeatable &&
      (failure.state === "not-sent" || (failure.state === "maybe-sent" && request.isIdempotent));
    if (!mayRepeat) break;
  }
  return failure ? { state: "failed", failure } : { state: "no-endpoint" };
}

function mayRetry(deps: AttemptsDependencies, { state }: Failure): boolean {
  if (!deps.budget.take()) {
    deps.counter.add("retries-denied:all");
    return false;
  }
  // A timeout is not repeated, so that it does not come here.
  if (state !== "timeout") deps.counter.add(`retries:${state}`);
  return true;
}

async function attempt<T>(
  deps: AttemptsDependencies,
  options: {
    readonly endpoint: RouteEndpoint;
    readonly request: AttemptsRequest;
    readonly canMove: (started: boolean) => boolean;
  },
  send: (attempt: Attempt) => Sent<T>,
): Promise<Exclude<AttemptsResult<T>, { state: "no-endpoint" }>> {
  const { endpoint, request } = options;
  const { client } = request;
  const turn = deps.balancer.begin(endpoint);
  let watched: WatchedTurn | undefined;
  let sent: Sent<T> | undefined;
  const done = () => {
    turn.end();
    watched?.end();
  };
  try {
    const under = sendTo(deps, endpoint, request, send);
    sent = under;
    client.onGone = under.abort;
    if (endpoint.node !== deps.node)
      watched = deps.nodeWatch.begin(endpoint.node, {
        canMove: () => options.canMove(under.started()),
        abort: under.abort,
      });
    const answer = await under.accepted;
    watched?.heard();
    turn.succeeded();
    return { state: "answered", answer, done };
  } catch (error) {
    const failure = failureOf(error, { started: sent?.started() ?? false });
    if (!client.gone) blame(deps, { endpoint, error, failure, turn, watched });
    done();
    return { state: "failed", failure };
  }
}

function sendTo<T>(
  { upstreams, node }: AttemptsDependencies,
  endpoint: RouteEndpoint,
  options: { readonly isIdempotent: boolean },
  send: (attempt: Attempt) => Sent<T>,
): Sent<T> {
  if (endpoint.node === node) {
    const reuse = options.isIdempotent ? "repeatable" : "once";
    return send({ endpoint, dispatcher: upstreams.local(endpoint, reuse), headers: [] });
  }
  return send({
    endpoint,
    dispatcher: upstreams.remote(endpoint.node),
    headers: [endpointHeader, addressOf(endpoint)],
  });
}

function blame(
  { nodeWatch }: AttemptsDependencies,
  met: {
    readonly endpoint: RouteEndpoint;
    readonly error: unknown;
    readonly failure: Failure;
    readonly turn: Turn;
    readonly watched: WatchedTurn | undefined;
  },
): void {
  const { endpoint, failure, turn, watched } = met;
  if (failure.blame === "node") {
    nodeWatch.suspect(endpoint.node, explain(failure.cause));
    return;
  }
  // The mesh itself said so.
  if (met.error instanceof AttemptFailed) watched?.heard();
  turn.failed(failure.state === "not-sent" ? "unreachable" : "broken");
}
