/** What a node or hub answers line by line, one JSON object each, read as it comes. */
import { call, type LocalApi } from "./local-api.ts";

/** With `signal` its abort ends the lines, and nothing is thrown. Throws what the other side says. */
export async function entryLines(
  api: LocalApi,
  path: string,
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<string>> {
  return linesOf(await call(api, path, signal ? { signal } : {}), signal);
}

export async function* linesOf({ body }: Response, signal?: AbortSignal): AsyncGenerator<string> {
  if (!body) return;
  let rest = "";
  const decoder = new TextDecoder();
  try {
    for await (const chunk of body) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      yield* lines.filter((line) => line !== "");
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
  if (rest !== "") yield rest;
}
