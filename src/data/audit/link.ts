/**
 * Both ends of an audit over a link: every method of a side, its arguments and answers as JSON. Each end
 * checks what the other one says (`invalid-message`): nothing is found equal, or different, by a mistake.
 */
import * as z from "zod";
import { SkerryError } from "../../lib/errors.ts";
import type { Link, Peer, Router } from "../../transport/index.ts";
import { isObject, type Json, type JsonObject } from "../documents/json.ts";
import { isState } from "../documents/snapshot.ts";
import type { AuditSide } from "./sides.ts";

const name = z.string().min(1).max(1000);
const scan = z.string().min(1).max(40);
const key = z.string().max(2000);
const range = z.object({ from: key, to: key.optional() });
const ranges = z.array(range).max(64);
const position = z.int().min(0);
/** Of one answer. */
const positionsMax = 4096;

/** What may be asked from outside; a policy is nobody's but the own store's. */
const requests = {
  names: z.object({}),
  open: z.object({ kind: z.enum(["collection", "stream"]), name }),
  look: z.object({ scan }),
  prints: z.object({ scan, ranges }),
  split: z.object({ scan, ranges, parts: z.int().min(2).max(64) }),
  keys: z.object({ scan, range }),
  documentPrints: z.object({ scan, range, after: key.optional() }),
  documents: z.object({ scan, ids: z.array(key).max(20) }),
  entries: z
    .object({ scan, origin: name, from: position, to: position })
    .refine(({ from, to }) => to - from < positionsMax, "too many positions"),
  removed: z.object({
    scan,
    keys: z.array(z.tuple([z.string().max(1000), z.int(), z.int()])).max(512),
  }),
  forget: z.object({ scan }),
} as const;

type Method = keyof typeof requests;

const part = z.object({ ...range.shape, keys: position, print: z.string() });
const vector = z.record(z.string(), position);
const entryKey = z.tuple([z.string(), z.int(), z.int()]);
const held = { first: position, top: position };

/** What is answered, the parts that this version reads. */
const answers: Readonly<Record<Method, z.ZodType>> = {
  names: z.object({ collection: z.array(z.string()), stream: z.array(z.string()) }),
  open: z.object({ scan }),
  look: z.discriminatedUnion("state", [
    z.object({ state: z.literal("scanning"), seen: position, of: position }),
    z.object({ state: z.literal("absent"), reason: z.string() }),
    z.object({
      ...{ state: z.literal("scanned"), items: position, vector },
      logs: z.array(z.object({ origin: z.string(), ...held })),
    }),
  ]),
  prints: z.array(part),
  split: z.array(z.array(part)),
  keys: z.array(z.string()),
  documentPrints: z.object({
    prints: z.array(z.tuple([z.string(), z.string()])),
    more: z.boolean(),
  }),
  documents: z.object({
    applied: vector,
    documents: z.array(
      z
        .object({
          id: z.string(),
          state: z.custom<JsonObject>((value) => isObject(value as Json)).optional(),
          origins: z.array(z.string()),
        })
        .refine(({ state, origins }) => state === undefined || isState(state, origins.length)),
    ),
  }),
  entries: z.object({
    ...held,
    entries: z.array(z.object({ position, print: z.string(), key: entryKey.optional() })),
    damaged: z.string().optional(),
  }),
  removed: z.array(z.boolean()),
  forget: z.null(),
};

const methods = Object.keys(requests) as Method[];

/** More than can be open. */
const openersMax = 64;
/** How long one answer may take: a scan is begun, not waited for. */
const timeoutMs = 60_000;

export type AuditLink = Pick<Link, "request">;

/** `prefix`: what the methods are called on this link: `audit`, towards the hub `hub.audit`. */
export function connectAudit(link: AuditLink, prefix: string): AuditSide {
  const ask = async (method: Method, request: object): Promise<unknown> => {
    const answer = await link.request(`${prefix}.${method}`, Buffer.from(JSON.stringify(request)), {
      timeoutMs,
      priority: 2,
    });
    return read(answers[method], answer, `the answer of an audit (${method})`);
  };
  return Object.fromEntries(
    methods.map((method) => [method, (request: object) => ask(method, request)]),
  ) as unknown as AuditSide;
}

/** `scopeOf`: what a peer may ask about; throws `forbidden`. Scans are their openers' alone. */
export function serveAudit(
  router: Router,
  {
    prefix,
    side,
    scopeOf,
  }: {
    prefix: string;
    side: AuditSide;
    scopeOf: (peer: Peer) => { readonly scope?: string };
  },
): void {
  const openers = new Map<string, string>();
  for (const method of methods) {
    router.handle(`${prefix}.${method}`, async ({ peer, body }) => {
      const scope = scopeOf(peer);
      const request = checked(method, body);
      if (request.scan !== undefined && openers.get(request.scan) !== peer.id)
        throw new SkerryError({
          code: "audit-forgotten",
          message: "this scan is not open, or somebody else's",
          retryable: true,
        });
      const call = side[method] as (request: object) => Promise<unknown>;
      const answer = await call({ ...request, ...scope });
      if (method === "open") {
        openers.set((answer as { scan: string }).scan, peer.id);
        const [oldest] = openers.keys();
        if (openers.size > openersMax && oldest !== undefined) openers.delete(oldest);
      }
      if (method === "forget") openers.delete(request.scan ?? "");
      return Buffer.from(JSON.stringify(answer ?? null));
    });
  }
}

/** Throws `invalid-message`. */
function checked(method: Method, body: Uint8Array): { readonly scan?: string } {
  const schema = requests[method] as z.ZodType<{ readonly scan?: string }>;
  return read(schema, body, `a question of an audit (${method})`);
}

function read<T>(schema: z.ZodType<T>, body: Uint8Array, what: string): T {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-message",
      message: `${what} cannot be read`,
      hint: "the two run versions that do not know each other; bring both to the same",
      cause,
    });
  }
}
