/** What an administrator asks for when creating a join token over HTTP. */
import { SkerryError } from "../../lib/errors.ts";

const ttlMsMax = 7 * 86_400_000;

/** Throws `invalid-argument` naming the field. */
export function parseTokenRequest(body: unknown): {
  name: string | undefined;
  ttlMs: number;
  server: boolean;
} {
  const {
    name,
    ttlMs,
    server = false,
  } = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  if (
    name !== undefined &&
    (typeof name !== "string" || !/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name))
  ) {
    throw new SkerryError({
      code: "invalid-argument",
      message: `name: ${JSON.stringify(name)} is not a name`,
      hint: "lower-case letters, digits and dashes, at most 63",
    });
  }
  if (typeof ttlMs !== "number" || !(ttlMs > 0 && ttlMs <= ttlMsMax)) {
    throw new SkerryError({
      code: "invalid-argument",
      message: `ttlMs: ${JSON.stringify(ttlMs)} is not a lifetime`,
      hint: "more than 0 and at most 7 days",
    });
  }
  if (typeof server !== "boolean") {
    throw new SkerryError({
      code: "invalid-argument",
      message: `server: ${JSON.stringify(server)} is neither true nor false`,
      hint: "true for a machine that shall become a server",
    });
  }
  return { name, ttlMs, server };
}
