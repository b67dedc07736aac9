/**
 * The contract of coordination: requests and answers as plain data, the same whether a ledger of
 * this node answers or a server at the other end of a link. Values travel as base64. The schemas
 * judge what comes over HTTP and over links alike; docs/coordination.md says what each part means.
 */
import * as z from "zod";
import type { EncodedError } from "../../lib/errors.ts";
import { SkerryError } from "../../lib/errors.ts";

export const keyCharactersMax = 512;
export const nameCharactersMax = 128;
export const valueBytesMax = 64 * 1024;
const claimValueCharactersMax = 4096;
/** Of what is kept to know a write again. */
export const receiptBytesMax = 4096;
export const pageItemsMax = 1000;
/** Of one request that names several keys. */
export const batchKeysMax = 64;
export const waitMsMax = 60_000;

const segments = /^[\w.~:@=+,-]+(\/[\w.~:@=+,-]+)*$/;
const dots = /(^|\/)\.{1,2}(\/|$)/;
const keyHint = `1 to ${keyCharactersMax} characters: segments of letters, digits and _-.~:@=+, with single slashes between them, none of them "." or ".."`;
const isKey = (key: string) => segments.test(key) && !dots.test(key);

const key = z.string().max(keyCharactersMax, keyHint).refine(isKey, keyHint);
const prefix = z
  .string()
  .max(keyCharactersMax, keyHint)
  .regex(/^[\w.~:@=+,/-]*$/, "part of a key from its beginning, or empty");
const name = z
  .string()
  .max(nameCharactersMax)
  .refine(
    (text) => isKey(text) && !text.includes("/"),
    `one segment of at most ${nameCharactersMax} characters: letters, digits and _-.~:@=+,`,
  );
const revision = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const session = z.string().regex(/^[\w-]{1,64}$/, "as the answer that made it said");
const id = z.string().regex(/^[!-~]{1,128}$/, "1 to 128 printable characters without spaces");
const kind = z.enum(["lock", "election"]);
const stale = z.boolean().optional();
const fence = z.strictObject({ kind, name, token: revision.min(1) });
/** Base64 grows by a third. */
const base64 = (bytesMax: number) =>
  z.base64().max(Math.ceil(bytesMax / 3) * 4, `at most ${bytesMax} bytes`);
const value = base64(valueBytesMax);
const receipt = z.string().regex(/^[\w-]{43}$/, "43 letters, digits and _-: a SHA-256");

const requestSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("describe") }),
  z.strictObject({ type: z.literal("get"), key, stale }),
  z.strictObject({
    type: z.literal("list"),
    prefix,
    limit: z.number().int().min(1).max(pageItemsMax).optional(),
    after: key.optional(),
    revision: revision.min(1).optional(),
    stale,
  }),
  z.strictObject({
    type: z.literal("put"),
    key,
    value,
    /** The key's last change; 0: it does not exist. */
    ifRevision: revision.optional(),
    fence: fence.optional(),
    session: session.optional(),
  }),
  z.strictObject({
    type: z.literal("delete"),
    key,
    ifRevision: revision.optional(),
    fence: fence.optional(),
  }),
  /** Several keys, all at one revision. */
  z.strictObject({
    type: z.literal("read"),
    keys: z.array(key).min(1).max(batchKeysMax),
    /** Of a write that may have been done: the keys are read only if it was not. */
    once: receipt.optional(),
  }),
  /**
   * All or none, on condition of each key's last change; 0: it does not exist. With `once` only if
   * nothing was done under that id, which is then known for two minutes at least, by this value.
   */
  z.strictObject({
    type: z.literal("transact"),
    when: z.array(z.strictObject({ key, revision })).max(batchKeysMax),
    writes: z.array(z.strictObject({ key, value: value.nullable() })).max(batchKeysMax),
    once: z.strictObject({ id: receipt, value: base64(receiptBytesMax) }).optional(),
  }),
  z.strictObject({
    type: z.literal("session-create"),
    ttlMs: z.number().min(1000).max(3_600_000).optional(),
  }),
  z.strictObject({ type: z.literal("session-renew"), session }),
  z.strictObject({ type: z.literal("session-end"), session }),
  z.strictObject({
    type: z.literal("claim"),
    kind,
    name,
    session,
    id: id.optional(),
    waitMs: z.number().min(0).max(waitMsMax).optional(),
    value: z.string().max(claimValueCharactersMax).optional(),
  }),
  z.strictObject({ type: z.literal("holder"), kind, name, stale }),
  z.strictObject({ type: z.literal("release"), kind, name, token: revision.min(1) }),
]);

const streamSchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("watch"),
    prefix,
    after: revision.optional(),
    /** Of `after`; absent: the present one. */
    epoch: z.string().max(128).optional(),
  }),
  z.strictObject({ type: z.literal("observe"), kind, name }),
]);

export type CoordinationRequest = z.infer<typeof requestSchema>;
export type StreamRequest = z.infer<typeof streamSchema>;
export type RequestOf<Type extends CoordinationRequest["type"]> = Extract<
  CoordinationRequest,
  { type: Type }
>;
export type ClaimKind = z.infer<typeof kind>;
export type FenceCondition = z.infer<typeof fence>;

export type Item = {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly session?: string;
};

export type Holder = {
  /** The fencing token. */
  readonly token: number;
  readonly session: string;
  readonly id?: string;
  readonly value?: string;
};

export type Description = {
  readonly application: string;
  readonly usage: Readonly<Record<string, number>>;
  readonly limits: Readonly<Record<string, number>>;
};

export type Refusal = {
  readonly state: "refused";
  readonly code: "condition-failed" | "fence-lost" | "lock-held" | "not-held";
  readonly message: string;
  readonly revision: number;
  readonly current: Item | Holder | null;
};

export type CoordinationAnswer =
  | { readonly state: "description"; readonly description: Description }
  | { readonly state: "item"; readonly revision: number; readonly item: Item | null }
  /** In the order of the keys that were asked for. */
  | {
      readonly state: "items";
      readonly revision: number;
      readonly items: readonly (Item | null)[];
      /** What was done under the id of `once`; then there are no items. */
      readonly receipt?: { readonly value: string; readonly revision: number };
    }
  | {
      readonly state: "page";
      readonly revision: number;
      readonly epoch: string;
      readonly items: readonly Item[];
      readonly more: boolean;
    }
  | { readonly state: "holder"; readonly revision: number; readonly holder: Holder | null }
  | {
      readonly state: "done";
      readonly revision?: number;
      readonly token?: number;
      readonly session?: string;
      readonly ttlMs?: number;
    }
  | Refusal
  | { readonly state: "unknown"; readonly cause: EncodedError };

export type Change =
  | ({ readonly type: "put" } & Item)
  | { readonly type: "delete"; readonly key: string };

/** The first item of a stream comes at once: a bookmark, a change, the holder, or `compacted`. */
export type StreamItem = { readonly revision: number; readonly epoch: string } & (
  | { readonly event: "change"; readonly events: readonly Change[] }
  | { readonly event: "bookmark" }
  /** The last item: `revision` is the oldest that is still known. */
  | { readonly event: "compacted" }
  | { readonly event: "holder"; readonly holder: Holder | null }
);

/** Who asks: `id` is the SPIFFE id of the verified `token`. */
export type Caller = {
  readonly id: string;
  readonly token: string;
  /** Whose documents are asked for, where it is not the caller's own namespace. */
  readonly collection?: string;
};

export interface Coordination {
  /**
   * Throws what changed nothing: `session-unknown`, `quota-exceeded`, `coordination-busy`,
   * `compacted`, `quorum-lost`, `server-lost`, `ledger-unavailable`, `disk-full`, `invalid-request`.
   */
  call(
    caller: Caller,
    request: CoordinationRequest,
    options?: { signal?: AbortSignal },
  ): Promise<CoordinationAnswer>;
  /** Ends without an error when `signal` is aborted. Throws as `call`. */
  stream(
    caller: Caller,
    request: StreamRequest,
    options?: { signal?: AbortSignal },
  ): AsyncIterable<StreamItem>;
}

/** Requests that change nothing. */
export const isRead = ({ type }: CoordinationRequest): boolean =>
  ["describe", "get", "list", "read", "holder"].includes(type);

/** Requests that change nothing, or may be sent twice: lost answers are asked for again. */
export const isRepeatable = (request: CoordinationRequest): boolean =>
  isRead(request) ||
  ["session-create", "session-renew"].includes(request.type) ||
  (request.type === "claim" && request.id !== undefined);

/** Throws `invalid-request` naming the field. */
export const parseRequest = (input: unknown): CoordinationRequest => parse(requestSchema, input);
/** Throws `invalid-request` naming the field. */
export const parseStreamRequest = (input: unknown): StreamRequest => parse(streamSchema, input);

function parse<T>(schema: z.ZodType<T>, input: unknown): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue?.path.join(".") || "request";
  throw new SkerryError({
    code: "invalid-request",
    message: `${field}: ${issue?.message ?? "not understood"}`,
    hint: "docs/coordination.md lists what each field may be",
  });
}
