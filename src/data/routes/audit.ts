/**
 * `POST /v1/data/verify`: this node's store held against others, told line by line as it goes on. It
 * reads all that the stores hold, so it is for people, not for applications, and one at a time.
 */
import { Readable } from "node:stream";
import { encodeError, SkerryError } from "../../lib/errors.ts";
import { callerOf, type Routes } from "../../runtime/http/index.ts";
import { runAudit, type AuditDeps, type AuditRequest } from "../audit/audit.ts";
import type { AuditEvent } from "../audit/report.ts";
import { isObject, type Json } from "../documents/json.ts";
import { verifyStores } from "./audit-openapi.ts";
import { parseJsonBody, withJsonBodies } from "./json-body.ts";
import { requirePerson } from "./person.ts";

/** Of progress that a reader has not taken; more of it is left out. */
const progressBytesMax = 64 * 1024;
const bodyBytesMax = 64 * 1024;

export function createAuditRoutes(deps: AuditDeps): Routes {
  let isRunning = false;
  return (app) =>
    withJsonBodies(app, bodyBytesMax, (scope) => {
      scope.post<{ Body: Buffer | undefined }>(
        "/v1/data/verify",
        { config: { openapi: verifyStores } },
        async (request, reply) => {
          requirePerson(callerOf(request), "compare stores");
          const asked = checkRequest(parseJsonBody(request.body));
          if (isRunning) throw busy();
          isRunning = true;
          const gone = new AbortController();
          reply.raw.once("close", () => gone.abort());
          const lines = new Readable({ read: () => undefined, encoding: "utf8" });
          const tell = (line: object) => void lines.push(`${JSON.stringify(line)}\n`);
          const onEvent = (event: AuditEvent) => {
            if (event.event !== "progress" || lines.readableLength < progressBytesMax) tell(event);
          };
          void runAudit(deps, asked, { signal: gone.signal, onEvent })
            .catch((error: unknown) => tell({ event: "failed", error: encodeError(error) }))
            .finally(() => {
              isRunning = false;
              lines.push(null);
            });
          return reply.type("application/x-ndjson").header("cache-control", "no-store").send(lines);
        },
      );
    });
}

const busy = () =>
  new SkerryError({
    code: "store-busy",
    message: "stores are being compared on this node already",
    hint: "ask again when that has ended",
    retryable: true,
  });

/** Throws `invalid-query`. */
function checkRequest(given: Json | undefined): AuditRequest {
  const request = given ?? {};
  if (!isObject(request)) throw invalid("body", "must be an object");
  const unknown = Object.keys(request).find((name) => name !== "names" && name !== "with");
  if (unknown !== undefined) throw invalid(unknown, "is not known; names and with are");
  const listOf = (name: "names" | "with") => {
    const list = request[name];
    if (list === undefined) return {};
    if (Array.isArray(list) && list.every((each) => typeof each === "string"))
      return { [name]: list };
    throw invalid(name, "must be a list of names");
  };
  return { ...listOf("names"), ...listOf("with") };
}

const invalid = (name: string, problem: string) =>
  new SkerryError({ code: "invalid-query", message: `${name}: ${problem}` });
