/**
 * watch: one JSON frame a line, until the client goes, the time is over or the server stops. Nothing
 * is queued here: the next event is asked for when the client took the last one, and a client that
 * does not read is let go with 410, so that it lists anew.
 */
import { apiVersionOf, type KindDefinition, type KubeObject } from "../../api/index.ts";
import { deadline } from "../../lib/clock.ts";
import type { WatchEvent } from "../../resources/index.ts";
import { assertAllowed } from "../access.ts";
import type { VerbDependencies } from "../dependencies.ts";
import type { ObjectEncoder } from "../encoded.ts";
import type { Exchange } from "../exchange.ts";
import { formOf, objectBody, type Form } from "../forms.ts";
import { countOf, selectionOf } from "../query.ts";
import { isTrue, type ResourceRoute } from "../route.ts";
import { badRequest, failure, isOurFault, statusOf, type Status } from "../status.ts";
import { endResponse, writeAtPace } from "../streams/flow.ts";
import { tableOf } from "../tables/table.ts";

const initialEventsEnd = "k8s.io/initial-events-end";

export async function watchObjects(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  await assertAllowed(deps, exchange.subject, route);
  const { clock, limits, resources } = deps;
  const { query, response } = exchange;
  const form = formOf(exchange, clock);
  const selection = selectionOf(exchange, route);
  const timeoutMs = Math.min(
    (countOf(query, "timeoutSeconds") || Number.POSITIVE_INFINITY) * 1000,
    limits.watchAgeMaxMs,
  );
  const start = await startOf(deps, exchange, route);
  const end = deadline(clock, timeoutMs, { parent: exchange.signal });
  const encode = frameEncoder(route.kind, form, {
    encoder: deps.encoder,
    bookmarks: isTrue(query.get("allowWatchBookmarks")) || start.marksInitialEnd,
    marksInitialEnd: start.marksInitialEnd,
  });
  response.writeHead(200, {
    "Content-Type": "application/json",
    "Cache-Control": "no-cache, private",
  });
  response.flushHeaders();
  const write = (frame: string | Uint8Array) =>
    writeAtPace(clock, response, frame, {
      stallMs: limits.watchStallMs,
      signal: end.signal,
    });
  try {
    const events = resources.watch(route.kind, {
      ...selection,
      resourceVersion: start.resourceVersion,
      signal: end.signal,
    });
    for await (const event of events) {
      const frame = encode(event, clock.wallMs());
      if (frame === undefined) continue;
      const outcome = await write(frame);
      if (outcome === "closed") break;
      if (outcome === "stalled") {
        throw failure("Expired", "the watcher is too slow to follow; list and watch anew");
      }
    }
  } catch (error) {
    // An aborted watch has ended as it should; anything else is told in the stream's own words.
    if (!end.signal.aborted) {
      if (isOurFault(error)) deps.log.error("watch failed", { kind: route.kind.plural, error });
      response.write(lineOf(errorFrame(statusOf(error))));
    }
  } finally {
    end.done();
    endResponse(clock, response, limits.watchStallMs);
  }
}

const lineOf = (frame: unknown): string => `${JSON.stringify(frame)}\n`;

const errorFrame = (status: Status) => ({ type: "ERROR", object: status });

/** Where the watch begins. Without a version: with what exists now, unless the client declines. */
async function startOf(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<{ resourceVersion: string | undefined; marksInitialEnd: boolean }> {
  const { query, signal } = exchange;
  const given = query.get("resourceVersion") || undefined;
  if (given !== undefined && !/^\d+$/.test(given)) {
    throw badRequest(`resourceVersion: "${given}" is not a version that this cell gave out`);
  }
  const sendInitial = query.get("sendInitialEvents");
  if (isTrue(sendInitial)) return { resourceVersion: undefined, marksInitialEnd: true };
  const version = given === "0" ? undefined : given;
  if (sendInitial !== "false" || version !== undefined) {
    return { resourceVersion: version, marksInitialEnd: false };
  }
  const now = await deps.resources.list(route.kind, {
    namespace: route.namespace,
    limit: 1,
    signal,
  });
  return { resourceVersion: now.resourceVersion, marksInitialEnd: false };
}

function frameEncoder(
  kind: KindDefinition,
  form: Form,
  options: { encoder: ObjectEncoder; bookmarks: boolean; marksInitialEnd: boolean },
): (event: WatchEvent<KubeObject>, nowMs: number) => string | Uint8Array | undefined {
  let initialEnded = !options.marksInitialEnd;
  let columnsSent = false;
  return (event, nowMs) => {
    if (event.type === "BOOKMARK") {
      if (!options.bookmarks) return undefined;
      const object = bookmarkObject(kind, event.resourceVersion, !initialEnded);
      initialEnded = true;
      if (form.form !== "table") return lineOf({ type: "BOOKMARK", object });
      const metadata = { resourceVersion: event.resourceVersion };
      const row = { cells: kind.columns.map(() => ""), object };
      const table = { ...Object(tableOf(kind, [], metadata, form)), rows: [row] };
      return lineOf({ type: "BOOKMARK", object: table });
    }
    if (form.form === "object") return options.encoder.frame(event.type, event.object);
    if (form.form === "metadata") {
      return lineOf({ type: event.type, object: objectBody(kind, event.object, form) });
    }
    const { resourceVersion } = event.object.metadata;
    const withColumns = !columnsSent;
    columnsSent = true;
    const table = { ...form, nowMs, withColumns };
    const object = tableOf(kind, [event.object], { resourceVersion }, table);
    return lineOf({ type: event.type, object });
  };
}

function bookmarkObject(kind: KindDefinition, resourceVersion: string, endsInitial: boolean) {
  return {
    kind: kind.kind,
    apiVersion: apiVersionOf(kind),
    metadata: {
      resourceVersion,
      creationTimestamp: null,
      ...(endsInitial ? { annotations: { [initialEventsEnd]: "true" } } : {}),
    },
  };
}
