/**
 * A watch over HTTP: lines of JSON, resumed on another server when the connection ends, so that its
 * reader sees every change once. It gives up when no server can be reached.
 */
import type { KindDefinition, KubeObject } from "../../api/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { isObject } from "../patch/values.ts";
import type { ListOptions, WatchEvent } from "../resources.ts";
import { createPlace } from "../watching.ts";
import { errorOf, unavailable } from "./answers.ts";
import { collectionPath, listQuery, withQuery } from "./paths.ts";
import { readJson, type Requests } from "./requests.ts";

const lineBytesMax = 4 * 1024 * 1024;

export async function* watchRemote<T extends KubeObject>(
  deps: { requests: Requests; log: Log },
  kind: KindDefinition<T>,
  options: ListOptions & { resourceVersion: string },
  stallMs: number,
): AsyncIterable<WatchEvent<T>> {
  const place = createPlace(options.resourceVersion);
  const path = collectionPath(kind as KindDefinition, options.namespace);
  const ended = () => options.signal?.aborted ?? false;
  let fruitless = 0;
  while (!ended()) {
    const query = { ...listQuery(options), limit: undefined, continue: undefined };
    const request = {
      method: "GET",
      path: withQuery(path, {
        ...query,
        watch: 1,
        allowWatchBookmarks: true,
        resourceVersion: place.resumeAt(),
      }),
      signal: options.signal,
    } as const;
    try {
      const { answer } = await deps.requests.open(request, { stallMs });
      if (answer.statusCode !== 200)
        throw errorOf({ code: answer.statusCode, body: await readJson(answer.body) });
      for await (const line of linesOf(answer.body)) {
        const event = eventOf<T>(line);
        fruitless = 0;
        if (place.isNew(event)) yield event;
        if (ended()) return;
      }
    } catch (error) {
      if (ended()) return;
      if (error instanceof SkerryError) throw error;
      deps.log.debug("watch broke, resuming", { kind: kind.kind, error });
    }
    // Servers that accept and end at once must not be asked in a tight loop.
    if (++fruitless > 2) throw unavailable(`the watch of ${kind.plural} ends as soon as it begins`);
  }
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncIterable<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      if (line.trim() !== "") yield line;
    }
    if (rest.length > lineBytesMax)
      throw unavailable(`a line of the watch is longer than ${lineBytesMax} bytes`);
  }
}

function eventOf<T extends KubeObject>(line: string): WatchEvent<T> {
  const frame: unknown = JSON.parse(line);
  if (!isObject(frame) || !isObject(frame["object"]))
    throw unavailable(`the watch told something that is no event: ${line.slice(0, 80)}`);
  const { type, object } = frame;
  switch (type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      return { type, object: object as unknown as T };
    case "BOOKMARK": {
      const { metadata } = object as unknown as KubeObject;
      return { type, resourceVersion: metadata.resourceVersion ?? "0" };
    }
    default: {
      const code = isObject(object) && typeof object["code"] === "number" ? object["code"] : 500;
      throw errorOf({ code, body: object });
    }
  }
}
