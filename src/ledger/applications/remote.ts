/**
 * Coordination from a node that holds no ledger: each request goes to a server over the link that is
 * there anyway, and to the next one while that does no harm (C3). A write whose answer was lost is
 * `unknown`, and is sent to nobody else.
 */
import { deadline, type Clock } from "../../lib/clock.ts";
import { encodeError, SkerryError } from "../../lib/errors.ts";
import { createShares } from "../../lib/shares.ts";
import {
  isRead,
  isRepeatable,
  type Coordination,
  type CoordinationAnswer,
  type CoordinationRequest,
  type StreamItem,
} from "./coordination.ts";
import {
  applicationMethods,
  decodeAnswer,
  decodeItem,
  encodeAsked,
  type LinkMethods,
} from "./link.ts";
import { coordinationBusy } from "./limits.ts";

/** A link to a server, as far as it is needed here. */
export type ServerLink = {
  readonly node: string;
  request(
    method: string,
    body: Uint8Array,
    options: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<Uint8Array>;
  open(
    method: string,
    body: Uint8Array,
    options: { signal?: AbortSignal },
  ): AsyncIterable<Uint8Array>;
};

export type RemoteCoordinationOptions = {
  /** Default: those of applications. */
  readonly methods?: LinkMethods;
  /** How much of a link these requests together may take (C9). */
  readonly share?: LinkShare;
  /** More than a server takes to say `unknown`. Default 7 s. */
  readonly timeoutMs?: number;
  /** For what may be asked of another server instead. Default 2.5 s. */
  readonly hurriedMs?: number;
};

export type LinkShare = {
  readonly streams: number;
  readonly waits: number;
  readonly calls: number;
};

/** A link carries 256 calls and other things besides: all shares together leave room for the rest (C9). */
const applicationShare: LinkShare = { streams: 64, waits: 48, calls: 32 };
export const collectionShare: LinkShare = { streams: 16, waits: 0, calls: 16 };
export const groupShare: LinkShare = { streams: 0, waits: 24, calls: 16 };

/** The server said, or the link knows, that nothing was done; another server may do it. */
const undone = ["link-closed", "link-busy", "unknown-method", "ledger-unavailable", "quorum-lost"];
/** The answer was lost, or says too little. */
const lost = ["link-lost", "link-timeout", "internal"];

/** `servers`: those with a link now, the likeliest to answer first. */
export function createRemoteCoordination(
  deps: { servers: () => readonly ServerLink[]; clock: Clock },
  options: RemoteCoordinationOptions = {},
): Coordination {
  const { timeoutMs = 7000, hurriedMs = 2500, methods = applicationMethods } = options;
  const most = options.share ?? applicationShare;
  const calls = share(most.calls);
  const waits = share(most.waits);
  const streams = share(most.streams);
  let preferred: string | undefined;

  const candidates = () => {
    const servers = deps.servers();
    const first = servers.find(({ node }) => node === preferred);
    return first ? [first, ...servers.filter((server) => server !== first)] : servers;
  };

  const ask = async (
    body: Uint8Array,
    request: CoordinationRequest,
    signal: AbortSignal | undefined,
  ): Promise<CoordinationAnswer> => {
    const waitMs = request.type === "claim" ? (request.waitMs ?? 0) : 0;
    let failure: unknown;
    let unknown: unknown;
    const servers = candidates();
    for (const [index, server] of servers.entries()) {
      const isHurried = index < servers.length - 1 && isRepeatable(request);
      try {
        const answer = await server.request(methods.call, body, {
          timeoutMs: waitMs + (isHurried ? hurriedMs : timeoutMs),
          ...(signal ? { signal } : {}),
        });
        preferred = server.node;
        return decodeAnswer(answer);
      } catch (error) {
        if (signal?.aborted) {
          if (isRead(request)) throw signal.reason;
          return { state: "unknown", cause: encodeError(signal.reason) };
        }
        failure = error;
        if (isCode(error, lost)) {
          if (!isRead(request)) unknown = error;
          if (isRepeatable(request)) continue;
          break;
        }
        if (!isCode(error, undone)) throw error;
      }
    }
    // A repeated request that was refused later may still have been done by the first server.
    if (unknown !== undefined) return { state: "unknown", cause: encodeError(unknown) };
    throw isCode(failure, ["ledger-unavailable", "quorum-lost"]) ? failure : serverLost(failure);
  };

  return {
    async call(caller, request, { signal } = {}) {
      const { id } = caller;
      const isWait = request.type === "claim" && (request.waitMs ?? 0) > 0;
      const [shares, what] = isWait ? [waits, "waiting requests"] : [calls, "requests"];
      if (shares.take(id, 1) !== "taken") throw coordinationBusy(what);
      try {
        return await ask(encodeAsked(caller, request), request, signal);
      } finally {
        shares.release(id, 1);
      }
    },

    async *stream(caller, request, { signal } = {}) {
      const { id } = caller;
      if (streams.take(id, 1) !== "taken") throw coordinationBusy("watches");
      try {
        const body = encodeAsked(caller, request);
        let failure: unknown;
        for (const server of candidates()) {
          const opened = await firstItem(deps.clock, server, body, {
            method: methods.stream,
            signal,
            timeoutMs,
          });
          if (signal?.aborted) return;
          if ("failure" in opened) {
            ({ failure } = opened);
            if (!isCode(failure, [...undone, ...lost])) throw failure;
            continue;
          }
          preferred = server.node;
          yield* opened.items;
          return;
        }
        throw isCode(failure, ["ledger-unavailable", "quorum-lost"])
          ? failure
          : serverLost(failure);
      } catch (error) {
        if (!signal?.aborted) throw error;
      } finally {
        streams.release(id, 1);
      }
    },
  };
}

/** A server whose stream has begun; every stream begins at once. */
async function firstItem(
  clock: Clock,
  server: ServerLink,
  body: Uint8Array,
  {
    method,
    signal,
    timeoutMs,
  }: { method: string; signal: AbortSignal | undefined; timeoutMs: number },
): Promise<{ items: AsyncGenerator<StreamItem> } | { failure: unknown }> {
  const limit = deadline(clock, timeoutMs, {
    ...(signal ? { parent: signal } : {}),
    reason: () =>
      new SkerryError({
        code: "link-timeout",
        message: `${server.node} did not begin to answer within ${timeoutMs} ms`,
        retryable: true,
      }),
  });
  const ended = new AbortController();
  const end = () => ended.abort(limit.signal.reason);
  limit.signal.addEventListener("abort", end, { once: true });
  const items = server.open(method, body, { signal: ended.signal })[Symbol.asyncIterator]();
  const forward = () => ended.abort(signal?.reason);
  try {
    const first = await items.next();
    limit.signal.removeEventListener("abort", end);
    limit.done();
    signal?.addEventListener("abort", forward, { once: true });
    return { items: rest(first, items, () => signal?.removeEventListener("abort", forward)) };
  } catch (failure) {
    limit.done();
    return { failure };
  }
}

async function* rest(
  first: IteratorResult<Uint8Array>,
  items: AsyncIterator<Uint8Array>,
  done: () => void,
): AsyncGenerator<StreamItem> {
  try {
    for (let next = first; !next.done; next = await items.next()) yield decodeItem(next.value);
  } finally {
    done();
    await items.return?.();
  }
}

const share = (max: number) =>
  createShares({
    perTakerMax: Math.ceil(max * 0.75),
    totalMax: max,
    reserveMax: Math.ceil(max * 1.25),
    littleMax: 2,
  });

const isCode = (error: unknown, codes: readonly string[]): boolean =>
  error instanceof SkerryError && codes.includes(error.code);

const serverLost = (cause: unknown) =>
  new SkerryError({
    code: "server-lost",
    message: "no server of the cell can be reached from here",
    hint: "this call changed nothing; try again when a server is back, or see `skerry status`",
    retryable: true,
    cause,
  });
