/** What the drills run in the cell: two pods of a small web service behind an ingress, and a stream. */
import { request } from "undici";
import { applyExample, applyStream, exampleStream, type Cluster } from "../../client/index.ts";
import { explain, SkerryError } from "../../lib/errors.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Site } from "./site.ts";

/** Fewer than nodes: one ingress at least has no pod beside it and must go over the mesh. */
const replicas = 2;

export async function deployEcho(
  cluster: Cluster,
  options: { stream: string; nodePath: string; durability?: string },
): Promise<void> {
  const stream = exampleStream(
    options.stream,
    ["value", "site"],
    "written by the drill's load generator",
  );
  const { durability = stream.spec?.durability } = options;
  await applyStream(cluster, { ...stream, spec: { ...stream.spec, durability } } as typeof stream);
  await applyExample(cluster, { name: "echo", replicas, port: 18_080, nodePath: options.nodePath });
}

/** Ready means: every node's ingress answers, all pods answer, and every gateway knows the stream. */
export async function waitForEcho(
  site: Site,
  options: { clock: Clock; timeoutMs: number; signal: AbortSignal },
): Promise<void> {
  const giveUpMs = options.clock.monotonicMs() + options.timeoutMs;
  for (;;) {
    const missing = await whatIsMissing(site);
    if (missing === undefined) return;
    if (options.clock.monotonicMs() > giveUpMs) {
      throw new SkerryError({
        code: "drill-step-failed",
        message: `the application was not ready in time: ${missing}`,
      });
    }
    await options.clock.sleep(200, { signal: options.signal });
  }
}

async function whatIsMissing(site: Site): Promise<string | undefined> {
  const reached = new Set<string>();
  for (const node of site.nodes) {
    try {
      for (let attempt = 0; attempt < replicas * 3; attempt++) {
        const answer = await request(`http://${node.ingress}/echo`);
        const text = await answer.body.text();
        if (answer.statusCode !== 200)
          return `ingress of ${node.node}: status ${answer.statusCode}: ${text.slice(0, 200)}`;
        reached.add((JSON.parse(text) as { node: string }).node);
      }
      const streams = await request(`${node.gateway}/v1/streams/drill/entries?limit=1`, {
        headers: { authorization: `Bearer ${node.token}` },
      });
      await streams.body.dump();
      if (streams.statusCode !== 200)
        return `gateway of ${node.node}: status ${streams.statusCode}`;
    } catch (error) {
      return `${node.node}: ${explain(error)}`;
    }
  }
  return reached.size < replicas
    ? `the ingresses reach pods on ${[...reached].join(", ")} only`
    : undefined;
}
