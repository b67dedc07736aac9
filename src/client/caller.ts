/** One HTTP call to a gateway or a hub with a token, and what is thrown when it comes to nothing. */
import { SkerryError } from "../lib/errors.ts";
import { refusalOf } from "./refusal.ts";
import { bearerOf, type Token } from "./token.ts";

export type ClientOptions = {
  /** `http://127.0.0.1:7480` */
  readonly url: string;
  readonly token?: Token;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
};

export type Call = (path: string, init: RequestInit) => Promise<Response>;

const outcomeHint = "the outcome of this call is unknown; with a key it is safe to repeat";

/** Throws `not-answering` when nobody does, else what the server said; the signal's reason when aborted. */
export function createCaller(options: ClientOptions): Call {
  const base = options.url.replace(/\/+$/, "");
  const send = options.fetch ?? fetch;
  return async (path, init) => {
    const headers = new Headers(init.headers);
    if (options.token !== undefined) headers.set("authorization", await bearerOf(options.token));
    let answer: Response;
    try {
      answer = await send(`${base}${path}`, { ...init, headers });
    } catch (cause) {
      if (init.signal?.aborted) throw init.signal.reason;
      throw new SkerryError({
        code: "not-answering",
        message: `nothing answers at ${base}`,
        hint: `is the agent running there? ${outcomeHint}`,
        retryable: true,
        cause,
      });
    }
    if (answer.ok) return answer;
    const text = await answer.text().catch(() => "");
    init.signal?.throwIfAborted();
    throw refusalOf(answer.status, text, answer.headers);
  };
}

/** The whole of an answer. Throws `not-answering` when it breaks off, the signal's reason when aborted. */
export async function bodyOf<T>(answer: Response, signal?: AbortSignal): Promise<T> {
  try {
    return (await answer.json()) as T;
  } catch (cause) {
    signal?.throwIfAborted();
    throw brokenOff(cause, outcomeHint);
  }
}

const brokenOff = (cause: unknown, hint?: string) =>
  new SkerryError({
    code: "not-answering",
    message: "the answer broke off",
    ...(hint === undefined ? {} : { hint }),
    retryable: true,
    cause,
  });

/** Parameters of a URL; what is undefined is left out. */
export function searchOf(
  parameters: Readonly<Record<string, string | number | undefined>>,
): URLSearchParams {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined) search.set(name, String(value));
  return search;
}

/**
 * The lines of an answer as they come. `onHeard`: something came, if only a part of one. Throws
 * `not-answering` when it breaks off.
 */
export async function* linesOf(answer: Response, onHeard?: () => void): AsyncIterable<string> {
  if (!answer.body) return;
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const chunk of answer.body) {
      onHeard?.();
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  } catch (cause) {
    throw brokenOff(cause);
  }
  if (rest !== "") yield rest;
}
