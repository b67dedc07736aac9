/** Entries as a node or hub answers them, one JSON object a line, read as they come. */
import { call, type LocalApi } from "./local-api.ts";

/** With `signal` its abort ends the lines, and nothing is thrown. Throws what the other side says. */
export async function entryLines(
  api: LocalApi,
  path: string,
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<string>> {
  const answer = await call(api, path, signal ? { signal } : {});
  const { body } = answer;
  if (!body) return (async function* () {})();
  return (async function* () {
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
  })();
}
