/** What a node or hub answers line by line, one JSON object each, read as it comes. */
import { followLines, type FollowedLine, type FollowOptions } from "../client/index.ts";
import { explain } from "../lib/errors.ts";
import type { Context } from "./context.ts";
import { call, type LocalApi } from "./local-api.ts";

/** Throws what the other side says. */
export async function entryLines(api: LocalApi, path: string): Promise<AsyncIterable<string>> {
  return linesOf(await call(api, path));
}

export async function* linesOf({ body }: Response): AsyncGenerator<string> {
  if (!body) return;
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines.filter((line) => line !== "");
  }
  if (rest !== "") yield rest;
}

/**
 * Those that are there, and what comes, until Ctrl-C. Throws where nobody answers in the beginning; a
 * connection that is lost later is told, and taken up again where it was.
 */
export function followEntries(
  api: LocalApi,
  path: string,
  options: Pick<FollowOptions, "newest" | "after" | "range">,
  { clock, output, stop }: Pick<Context, "clock" | "output" | "stop">,
): AsyncIterable<FollowedLine> {
  return followLines({ call: (asked, init) => call(api, asked, init), clock }, path, {
    ...options,
    signal: stop(),
    onLost(error, wasUp) {
      if (!wasUp) throw error;
      output.note(`${explain(error)}; trying again until it answers`);
    },
  });
}
