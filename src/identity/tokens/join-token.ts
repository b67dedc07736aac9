/**
 * Join tokens: `skt1.<cell>.<id>.<secret>.<pin>`, where the pin is base64url(SHA-256) of the public
 * key of the authority to join. Single use, short-lived; what is stored is the secret's hash. The
 * same key may redeem its token again while it lives, so that an answer lost on the way costs no
 * new token (spire#842).
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { SkerryError } from "../../lib/errors.ts";
import type { Random } from "../../lib/random.ts";
import { trustDomainOf } from "../spiffe.ts";
import type { TokenRecord, TokenStore } from "./token-store.ts";

export type JoinToken = {
  readonly cell: string;
  readonly trustDomain: string;
  readonly id: string;
  readonly secret: string;
  readonly pin: string;
};

export const joinTokenLifetimeMs = 3_600_000;
const secretPattern = /^[A-Za-z0-9_-]{43}$/;
const idPattern = /^[a-f0-9]{12}$/;
const tokenCharactersMax = 512;

/** Throws `invalid-token` naming the part that is wrong. */
export function parseJoinToken(text: string): JoinToken {
  const parts = text.trim().split(".");
  const version = parts.shift();
  const pin = parts.pop() ?? "";
  const secret = parts.pop() ?? "";
  const id = parts.pop() ?? "";
  const cell = parts.join(".");
  const wrong =
    text.length > tokenCharactersMax
      ? `it has ${text.length} characters`
      : version !== "skt1"
        ? 'it does not begin with "skt1."'
        : cell === "" || !isCell(cell)
          ? "its cell name is missing or malformed"
          : !idPattern.test(id)
            ? "its id is malformed"
            : !secretPattern.test(secret)
              ? "its secret is cut short or malformed"
              : !secretPattern.test(pin)
                ? "the authority's hash at its end is cut short or malformed"
                : undefined;
  if (wrong !== undefined) {
    throw new SkerryError({
      code: "invalid-token",
      message: `token: ${wrong}`,
      hint: "copy the whole line that `skerry token create` printed",
    });
  }
  return { cell, trustDomain: trustDomainOf(cell), id, secret, pin };
}

/** Makes and stores a token; `name` binds it to one node (or cell). Throws what the store throws. */
export async function createJoinToken(
  deps: { random: Random; store: TokenStore; nowMs: () => number },
  options: { cell: string; pin: string; name?: string; server?: boolean; lifetimeMs?: number },
): Promise<{ token: string; id: string; expiresAtMs: number }> {
  const { random, store } = deps;
  const id = Buffer.from(random.bytes(6)).toString("hex");
  const secret = Buffer.from(random.bytes(32)).toString("base64url");
  const expiresAtMs = deps.nowMs() + (options.lifetimeMs ?? joinTokenLifetimeMs);
  const token = ["skt1", options.cell, id, secret, options.pin].join(".");
  // What is handed out must be what is taken back.
  parseJoinToken(token);
  await store.put({
    id,
    secretHash: hashOf(secret).toString("hex"),
    expiresAtMs,
    ...(options.name !== undefined && { name: options.name }),
    ...(options.server && { server: true }),
  });
  return { token, id, expiresAtMs };
}

/**
 * Spends a token for the joiner `name` whose key has the pin `by`; answers what was kept of it. Throws `invalid-token`,
 * `token-unknown`, `token-expired`, `token-wrong-name`, `token-used`.
 */
export async function redeemJoinToken(
  deps: { store: TokenStore; nowMs: () => number },
  options: { token: string; trustDomain: string; name: string; by: string },
): Promise<TokenRecord> {
  const token = parseJoinToken(options.token);
  if (token.trustDomain !== options.trustDomain) {
    throw new SkerryError({
      code: "invalid-token",
      message: `token: it is for ${token.trustDomain}, and this is ${options.trustDomain}`,
    });
  }
  const record = await deps.store.get(token.id);
  if (!record || !timingSafeEqual(hashOf(token.secret), hashBytes(record))) {
    throw new SkerryError({
      code: "token-unknown",
      message: `token ${token.id} is not known here`,
      hint: "create a new one with `skerry token create`",
    });
  }
  if (deps.nowMs() > record.expiresAtMs) {
    throw new SkerryError({
      code: "token-expired",
      message: `token ${token.id} expired at ${new Date(record.expiresAtMs).toISOString()}`,
      hint: "create a new one with `skerry token create`",
    });
  }
  if (record.name !== undefined && record.name !== options.name) {
    throw new SkerryError({
      code: "token-wrong-name",
      message: `token ${token.id} was made for "${record.name}", not for "${options.name}"`,
      hint: "create one for this name, or join under the name it was made for",
    });
  }
  const usedBy = await deps.store.takeOnce(token.id, options.by);
  if (usedBy === options.by) return record;
  throw new SkerryError({
    code: "token-used",
    message: `token ${token.id} was used before`,
    hint: "create a new one with `skerry token create`; if nobody of yours used it, look who joined",
  });
}

const hashOf = (secret: string) => createHash("sha256").update(secret).digest();

function hashBytes({ secretHash }: TokenRecord): Buffer {
  const bytes = Buffer.from(secretHash, "hex");
  return bytes.length === 32 ? bytes : Buffer.alloc(32);
}

function isCell(cell: string): boolean {
  try {
    return trustDomainOf(cell) !== "";
  } catch (error) {
    if (error instanceof SkerryError) return false;
    throw error;
  }
}
