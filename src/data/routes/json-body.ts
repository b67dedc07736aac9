/** Bodies that are read by their route: JSON in UTF-8, or nothing. */
import { SkerryError } from "../../lib/errors.ts";
import type { Routes } from "../../runtime/http/index.ts";
import type { Json } from "../documents/json.ts";

export type JsonBodyApp = Parameters<Routes>[0];

/** A scope in which `application/json` comes as bytes. */
export function withJsonBodies(
  app: JsonBodyApp,
  bodyLimit: number,
  mount: (scope: JsonBodyApp) => void,
): void {
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(
      "application/json",
      { parseAs: "buffer", bodyLimit },
      (_request, body, done) => done(null, body),
    );
    mount(scope);
  });
}

/** Undefined: nothing was sent. Throws `invalid-query`. */
export function parseJsonBody(body: Buffer | undefined): Json | undefined {
  if (body === undefined || body.length === 0) return undefined;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)) as Json;
  } catch (cause) {
    throw new SkerryError({
      code: "invalid-query",
      message: `body: is not JSON in UTF-8: ${cause instanceof Error ? cause.message : ""}`,
      cause,
    });
  }
}
