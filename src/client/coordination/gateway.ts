/** One request at the gateway, and what its answer means: done, refused, unknown, or an error. */
import { deadline, type Clock } from "../../lib/clock.ts";
import { SkerryError, systemCode } from "../../lib/errors.ts";
import type { Random } from "../../lib/random.ts";
import { refusalOf } from "../refusal.ts";
import { bearerOf, type Token } from "../token.ts";

export type Gateway = {
  readonly clock: Clock;
  readonly random: Random;
  readonly timeoutMs: number;
  /** Any status. Throws `not-answering`, or the signal's reason. */
  send(path: string, request?: GatewayRequest): Promise<Response>;
};

export type GatewayRequest = {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly signal?: AbortSignal | undefined;
};

export type Answer = {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array<ArrayBuffer>;
};

export function createGatewayCaller(options: {
  gateway: string;
  token: Token;
  fetch: typeof fetch;
  clock: Clock;
  random: Random;
  timeoutMs: number;
}): Gateway {
  const base = `${options.gateway.replace(/\/+$/, "")}/v1/coordination`;
  const { token, clock, random, timeoutMs } = options;
  return {
    clock,
    random,
    timeoutMs,
    async send(path, { signal, ...init } = {}) {
      const headers = { ...init.headers, authorization: await bearerOf(token) };
      try {
        return await options.fetch(`${base}${path}`, {
          ...init,
          headers,
          ...(signal ? { signal } : {}),
        });
      } catch (cause) {
        signal?.throwIfAborted();
        throw notAnswering(base, cause);
      }
    },
  };
}

/** A whole answer, within the time that calls may take. */
export async function call(
  gateway: Gateway,
  path: string,
  { waitMs = 0, signal, ...request }: GatewayRequest & { waitMs?: number } = {},
): Promise<Answer> {
  const limit = deadline(gateway.clock, gateway.timeoutMs + waitMs, {
    ...(signal ? { parent: signal } : {}),
    reason: () => notAnswering(path, new Error(`no answer within ${gateway.timeoutMs} ms`)),
  });
  try {
    const answer = await gateway.send(path, { ...request, signal: limit.signal });
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return { status: answer.status, headers: answer.headers, bytes };
  } catch (error) {
    if (limit.signal.aborted) throw limit.signal.reason;
    throw error instanceof SkerryError ? error : notAnswering(path, error);
  } finally {
    limit.done();
  }
}

/** As `call`, for what changes something: undefined when the outcome is not known. */
export async function write(
  gateway: Gateway,
  path: string,
  request: GatewayRequest & { waitMs?: number },
): Promise<{ state: "answered"; answer: Answer } | { state: "unknown"; cause: Error }> {
  request.signal?.throwIfAborted();
  try {
    const answer = await call(gateway, path, request);
    const isKnown = answer.status < 500 || answer.status === 507;
    // Only Skerry's own 503 says that nothing was done; a proxy's says nothing.
    if (isKnown || (answer.status === 503 && errorOf(answer).code !== "refused"))
      return { state: "answered", answer };
    return { state: "unknown", cause: errorOf(answer) };
  } catch (error) {
    if (error instanceof SkerryError && wasNotSent(error)) throw error;
    return { state: "unknown", cause: error instanceof Error ? error : new Error(String(error)) };
  }
}

export const jsonOf = <T>({ bytes }: Answer): T => JSON.parse(new TextDecoder().decode(bytes)) as T;

/** What an answer that is no success says. */
export const errorOf = ({ status, headers, bytes }: Answer): SkerryError =>
  refusalOf(status, new TextDecoder().decode(bytes), headers);

const notAnswering = (where: string, cause: unknown) =>
  new SkerryError({
    code: "not-answering",
    message: `nothing answers at ${where}`,
    hint: "is the agent running there?",
    retryable: true,
    cause,
  });

/** There was no token; or Node says so of a port where nobody listens, of which browsers tell nothing. */
const wasNotSent = ({ code, cause }: SkerryError): boolean =>
  code === "unauthenticated" ||
  (code === "not-answering" &&
    cause instanceof Error &&
    systemCode(cause.cause) === "ECONNREFUSED");
