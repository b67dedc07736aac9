/** GET pods/NAME/log: the bytes of a container's log, at the reader's pace. */
import { podKind, type Pod } from "../../api/index.ts";
import { assertAllowed } from "../access.ts";
import type { VerbDependencies } from "../dependencies.ts";
import type { Exchange } from "../exchange.ts";
import type { PodLogOptions, PodLogTarget } from "../ports.ts";
import { countOf } from "../query.ts";
import { isTrue, type ResourceRoute } from "../route.ts";
import { badRequest, notFound } from "../status.ts";
import { endResponse, writeAtPace } from "./flow.ts";

/** A log that is silent so far must still begin its answer, or the client takes it for hung. */
const headersAfterMs = 500;

export async function streamPodLog(
  deps: VerbDependencies,
  exchange: Exchange,
  route: ResourceRoute,
): Promise<void> {
  await assertAllowed(deps, exchange.subject, route);
  const { clock, limits, podLogs, resources } = deps;
  const { response } = exchange;
  const { namespace = "", name = "" } = route;
  const ended = new AbortController();
  const signal = AbortSignal.any([exchange.signal, ended.signal]);
  const options = optionsOf(exchange, clock.wallMs(), signal);
  const pod = await resources.get(podKind, { namespace, name }, { signal });
  if (!pod) throw notFound(podKind, name);
  const target = targetOf(pod, exchange.query.get("container") || undefined);
  const iterator = podLogs.read(target, options)[Symbol.asyncIterator]();
  try {
    // An error before the first bytes is still an answer with a status of its own.
    const first = iterator.next();
    await Promise.race([first, clock.sleep(headersAfterMs, { signal })]);
    response.writeHead(200, { "Content-Type": "text/plain", "Cache-Control": "no-cache, private" });
    response.flushHeaders();
    for (let step = await first; step.done !== true; step = await iterator.next()) {
      const outcome = await writeAtPace(clock, response, step.value, {
        stallMs: limits.watchAgeMaxMs,
        signal,
      });
      if (outcome !== "written") break;
    }
    endResponse(clock, response, limits.watchStallMs);
  } catch (error) {
    if (!response.headersSent) throw error;
    if (signal.aborted) endResponse(clock, response, limits.watchStallMs);
    else {
      deps.log.warn("pod log broke off", { pod: `${namespace}/${name}`, error });
      // A cut chunked answer tells the client that the log is not whole.
      response.destroy();
    }
  } finally {
    ended.abort();
    await iterator.return?.();
  }
}

function optionsOf(exchange: Exchange, nowMs: number, signal: AbortSignal): PodLogOptions {
  const { query } = exchange;
  const sinceSeconds = countOf(query, "sinceSeconds");
  const sinceTime = query.get("sinceTime") || undefined;
  if (sinceSeconds !== undefined && sinceTime !== undefined) {
    throw badRequest("sinceSeconds, sinceTime: only one of them may be given");
  }
  const sinceTimeMs = sinceTime === undefined ? undefined : Date.parse(sinceTime);
  if (Number.isNaN(sinceTimeMs)) {
    throw badRequest(`sinceTime: "${String(sinceTime)}" is not an RFC 3339 time`);
  }
  return {
    follow: isTrue(query.get("follow")),
    previous: isTrue(query.get("previous")),
    timestamps: isTrue(query.get("timestamps")),
    tailLines: countOf(query, "tailLines"),
    sinceMs: sinceSeconds === undefined ? sinceTimeMs : nowMs - sinceSeconds * 1000,
    limitBytes: countOf(query, "limitBytes"),
    signal,
  };
}

function targetOf(pod: Pod, wanted: string | undefined): PodLogTarget {
  const { name, namespace = "", uid = "" } = pod.metadata;
  const names = [...(pod.spec.initContainers ?? []), ...pod.spec.containers].map((one) => one.name);
  const container = wanted ?? (pod.spec.containers.length === 1 ? names.at(-1) : undefined);
  if (container === undefined) {
    throw badRequest(
      `a container name must be specified for pod ${name}, choose one of: [${names.join(" ")}]`,
    );
  }
  if (!names.includes(container)) {
    throw badRequest(
      `container "${container}" is not valid for pod ${name}, choose one of: [${names.join(" ")}]`,
    );
  }
  const node = pod.spec.nodeName;
  if (!node) throw badRequest(`pod ${name} does not run on any node yet`);
  return { namespace, name, uid, node, container };
}
