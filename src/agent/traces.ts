/** Where this agent's spans go, from its configuration; nowhere by default. */
import type { Log } from "../lib/log.ts";
import { createTracer, noTracer, type Tracer } from "../runtime/trace/index.ts";
import type { AgentConfig } from "./config.ts";

/** Throws `tracing-unavailable`. */
export async function startTraces(
  deps: { log: Log },
  options: { config: AgentConfig; node: string; cell: string; version: string },
): Promise<Tracer> {
  const { tracesEndpoint: endpoint, tracesShare: share = 1 } = options.config;
  if (endpoint === undefined) return noTracer;
  return await createTracer(deps, {
    endpoint,
    share,
    service: "skerry-agent",
    attributes: {
      "service.version": options.version,
      "service.instance.id": `${options.cell}/${options.node}`,
      "skerry.cell": options.cell,
      "skerry.node": options.node,
    },
  });
}
