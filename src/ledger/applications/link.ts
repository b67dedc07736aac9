/**
 * Coordination over a link: JSON both ways. The application's own token travels with each request
 * and is verified again where it arrives (C2); what a node says of itself is not asked.
 */
import { SkerryError } from "../../lib/errors.ts";
import {
  parseRequest,
  parseStreamRequest,
  type Caller,
  type Coordination,
  type CoordinationAnswer,
  type CoordinationRequest,
  type StreamItem,
  type StreamRequest,
} from "./coordination.ts";

export type LinkMethods = { readonly call: string; readonly stream: string };

export const applicationMethods: LinkMethods = {
  call: "coordination.call",
  stream: "coordination.stream",
};
export const collectionMethods: LinkMethods = {
  call: "collections.call",
  stream: "collections.stream",
};

/** No stream is opened by it. */
export const groupMethods: LinkMethods = { call: "groups.call", stream: "groups.stream" };

type Asked<Request> = {
  readonly token: string;
  readonly collection?: string;
  readonly request: Request;
};

export interface CoordinationHandlers {
  /** `peer`: the SPIFFE id of the node at the other end. */
  call(body: Uint8Array, peer: string, signal: AbortSignal): Promise<Uint8Array>;
  stream(body: Uint8Array, peer: string, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** What a server answers on its links; the caller has judged that the peer is a node of the cell. */
export function serveCoordination(deps: {
  coordination: Coordination;
  /** Undefined for a token that is not valid now, or where nodes ask for themselves, for a peer that may not. */
  authenticate: (token: string, peer: string) => Promise<{ id: string } | undefined>;
}): CoordinationHandlers {
  const callerOf = async ({ token, collection }: Asked<unknown>, peer: string): Promise<Caller> => {
    const subject = typeof token === "string" ? await deps.authenticate(token, peer) : undefined;
    if (subject)
      return {
        id: subject.id,
        token,
        ...(typeof collection === "string" ? { collection } : {}),
      };
    throw new SkerryError({
      code: "unauthenticated",
      message: "the application's token is not valid at the server, or no longer",
      hint: "a pod finds its own in the file that SKERRY_TOKEN_FILE names",
    });
  };
  return {
    async call(body, peer, signal) {
      const asked = decode<Asked<unknown>>(body);
      const caller = await callerOf(asked, peer);
      const { request } = asked;
      return encode(await deps.coordination.call(caller, parseRequest(request), { signal }));
    },
    async *stream(body, peer, signal) {
      const asked = decode<Asked<unknown>>(body);
      const caller = await callerOf(asked, peer);
      const { request } = asked;
      const items = deps.coordination.stream(caller, parseStreamRequest(request), { signal });
      for await (const item of items) yield encode(item);
    },
  };
}

export const encodeAsked = (
  { token, collection }: Caller,
  request: CoordinationRequest | StreamRequest,
) =>
  encode({
    token,
    ...(collection === undefined ? {} : { collection }),
    request,
  } satisfies Asked<unknown>);
export const decodeAnswer = (body: Uint8Array) => decode<CoordinationAnswer>(body);
export const decodeItem = (body: Uint8Array) => decode<StreamItem>(body);

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** What a peer sends is JSON of the shape above, or a request that says so. Throws `invalid-request`. */
function decode<T>(body: Uint8Array): T {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(body));
    if (typeof value === "object" && value !== null) return value as T;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new SkerryError({
    code: "invalid-request",
    message: "what the peer sent is no JSON object",
  });
}
