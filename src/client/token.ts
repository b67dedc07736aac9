import { SkerryError } from "../lib/errors.ts";

/** An application token, or what reads it anew for each request: a pod's file (`SKERRY_TOKEN_FILE`) is replaced. */
export type Token = string | (() => string | Promise<string>);

/** The `authorization` header. Throws `unauthenticated` where the token cannot be read. */
export async function bearerOf(token: Token): Promise<string> {
  try {
    const text = typeof token === "string" ? token : await token();
    return `Bearer ${text.trim()}`;
  } catch (cause) {
    throw new SkerryError({
      code: "unauthenticated",
      message: `the token cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: "nothing was sent; a pod finds its own in the file that SKERRY_TOKEN_FILE names",
      cause,
    });
  }
}
