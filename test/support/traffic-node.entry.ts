/**
 * A node of a cell in a process of its own, which a test can stop whole: proxy, and a pod that holds
 * `/hold` until it is told to answer.
 */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { startTraffic, type ProxyIdentity } from "../../src/traffic/index.ts";

export type NodeStart = { node: string; host: string; identity: ProxyIdentity };
/** What the process says: once where it listens, then how many requests it holds. */
export type NodeWord =
  | { say: "ready"; meshPort: number; podPort: number }
  | { say: "held"; gets: number; posts: number };

const tell = (word: NodeWord) => process.send?.(word);

process.once("message", async ({ node, host, identity }: NodeStart) => {
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
  const traffic = await startTraffic(
    { clock: systemClock, random: systemRandom, log: silentLog, metrics: createMetrics() },
    { node, mesh: { host, port: 0 }, identity },
  );
  await traffic.setTable({
    node,
    hosts: [],
    defaultBackend: undefined,
    backends: [],
    served: [`${host}:${podPort}`],
    meshByNode: {},
  });
  process.on("message", () => {
    for (const response of held.splice(0)) response.end(node);
  });
  tell({ say: "ready", meshPort: traffic.meshPort ?? 0, podPort });
});
