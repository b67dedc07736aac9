/** Paths that other rooms answer on the API's port: `/metrics`, `/skerry/...`. */
import { authorizePath, type Subject } from "../authorization/index.ts";
import { readBody } from "./body.ts";
import { sendBytes, type Exchange } from "./exchange.ts";
import { failure } from "./status.ts";

export type MountedRequest = {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly subject: Subject;
  /** The parsed body (JSON or YAML, at most 3 MiB); undefined when there is none. */
  body(): Promise<unknown>;
  /** Aborts when the client has gone or the server stops. */
  readonly signal: AbortSignal;
};

export type MountedAnswer = {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Uint8Array;
};

export type MountedRoute = {
  /** The path itself and all below it: `/metrics`, `/skerry/status`. */
  readonly prefix: string;
  /** Who may ask; administrators only when absent. */
  readonly allows?: (subject: Subject, method: string) => boolean;
  handle(request: MountedRequest): Promise<MountedAnswer> | MountedAnswer;
};

export async function answerMounted(
  routes: readonly MountedRoute[],
  exchange: Exchange,
): Promise<boolean> {
  const { method, path, query, subject, signal } = exchange;
  const route = routes.find(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`));
  if (!route) return false;
  const allowed = route.allows
    ? route.allows(subject, method)
    : authorizePath(subject, path).state === "allow";
  if (!allowed) throw failure("Forbidden", `${subject.id} may not ${method} ${path}`);
  const body = async () => (await readBody(exchange.request))?.value;
  const answer = await route.handle({ method, path, query, subject, signal, body });
  await sendBytes(exchange, answer.status, Buffer.from(answer.body), answer.contentType);
  return true;
}
