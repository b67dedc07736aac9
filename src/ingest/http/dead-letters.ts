/** `/v1/dead-letters`: what was refused lately, and taking it after all. */
import { SkerryError } from "../../lib/errors.ts";
import { callerOf, isPerson, type HttpApp } from "../../runtime/http/index.ts";
import type { DeadLetters } from "../dead-letters.ts";
import { listDescription, retryDescription } from "./openapi.ts";

const listedMax = 100;
const retryBy = ["id", "code", "stream", "source"] as const;
type Wanted = Partial<Record<(typeof retryBy)[number], string>>;

export function mountDeadLetters(
  scope: Pick<HttpApp, "get" | "post">,
  deadLetters: DeadLetters,
): void {
  scope.get(
    "/v1/dead-letters",
    { config: { openapi: listDescription({ listedMax }) } },
    (request) => {
      const caller = callerOf(request);
      const all = deadLetters.list();
      const letters = all.slice(0, listedMax);
      return {
        counts: Object.fromEntries(deadLetters.countByCode),
        // What somebody else sent is nobody's to read: that it was refused, and why, is.
        letters: letters.map(({ excerpt, ...letter }) =>
          caller === undefined || caller === letter.sender ? { ...letter, excerpt } : letter,
        ),
        more: all.length - letters.length,
      };
    },
  );
  scope.post<{ Querystring: Record<string, unknown> }>(
    "/v1/dead-letters/retry",
    { config: { openapi: retryDescription(retryBy) } },
    (request) => {
      const wanted = parseRetry(request.query);
      const caller = callerOf(request);
      const mayAll = caller === undefined || isPerson(caller);
      return deadLetters.retry(
        (letter) =>
          (mayAll || letter.sender === caller) &&
          Object.entries(wanted).every(
            ([name, value]) => String(letter[name as keyof Wanted]) === value,
          ),
      );
    },
  );
}

function parseRetry(query: Readonly<Record<string, unknown>>): Wanted {
  for (const [name, value] of Object.entries(query)) {
    const isKnown = (retryBy as readonly string[]).includes(name);
    if (isKnown && typeof value === "string") continue;
    throw new SkerryError({
      code: "invalid-query",
      message: `query parameter "${name}" is ${isKnown ? "given twice" : "unknown"}`,
      hint: `known are ${retryBy.join(", ")}, each once; without any, all letters are tried`,
    });
  }
  return query as Wanted;
}
