/**
 * A node of a cell in a process of its own, which a test can stop whole: proxy, and a pod that holds
 * `/hold` until it is told to answer. With a table also an ingress, which tells its counts when asked.
 */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { startTraffic, type ProxyIdentity, type RouteTable } from "../../src/traffic/index.ts";

export type NodeStart = { node: string; host: string; identity: ProxyIdentity; table?: RouteTable };
/** What the process says: once where it listens, then how many requests it holds. */
export type NodeWord =
  | { say: "ready"; meshPort: number; podPort: number; ingressPort: number }
  | { say: "held"; gets: number; posts: number }
  | { say: "metrics"; text: string };
export type NodeOrder = "release" | "metrics";

const tell = (word: NodeWord) => process.send?.(word);

process.once("message", async ({ node, host, identity, table }: NodeStart) => {
  const held: ServerResponse[] = [];
  let [gets, posts] = [0, 0];
  const pod = createServer((request, response) => {
    if (request.url !== "/hold") return void response.end(node);
    if (request.method === "POST") posts++;
    else gets++;
    held.push(response);
    tell({ say: "held", gets, posts });
  });
  await new Promise<void>((resolve) => pod.listen(0, host, resolve));
  const { port: podPort } = pod.address() as AddressInfo;
  const metrics = createMetrics();
  const traffic = await startTraffic(
    { clock: systemClock, random: systemRandom, log: silentLog, metrics },
    { node, mesh: { host, port: 0 }, identity, ...(table && { ingress: { host, port: 0 } }) },
  );
  await traffic.setTable(
    table ?? {
      node,
      hosts: [],
      defaultBackend: undefined,
      backends: [],
      served: [`${host}:${podPort}`],
      meshByNode: {},
    },
  );
  process.on("message", async (order: NodeOrder) => {
    if (order === "metrics") return tell({ say: "metrics", text: await metrics.render() });
    for (const response of held.splice(0)) response.end(node);
  });
  const { meshPort = 0, ingressPort = 0 } = traffic;
  tell({ say: "ready", meshPort, podPort, ingressPort });
});
