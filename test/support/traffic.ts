/** A small cell for traffic's tests: proxies as real threads, pods as real HTTP servers. */
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createMetrics, type Metrics } from "../../src/runtime/metrics/index.ts";
import {
  startTraffic,
  type ProxyIdentity,
  type RouteEndpoint,
  type RouteTable,
  type Traffic,
  type TrafficOptions,
} from "../../src/traffic/index.ts";
import { testCell, type TestCell } from "./transport.ts";

export type TestPod = RouteEndpoint & {
  readonly server: Server;
  /** Ends it as a kill would: listener and connections at once. */
  kill(): void;
  requests: number;
};

export async function startPod(
  t: TestContext,
  node: string,
  listener?: RequestListener,
  port = 0,
): Promise<TestPod> {
  const ip = `127.0.0.${10 + Number(node.slice(1))}`;
  const answer: RequestListener =
    listener ?? ((_request, response) => response.end(JSON.stringify({ node })));
  const server = createServer((request, response) => {
    pod.requests++;
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(port, ip, resolve));
  const kill = () => {
    server.close();
    server.closeAllConnections();
  };
  t.after(kill);
  const pod: TestPod = {
    node,
    ip,
    port: (server.address() as AddressInfo).port,
    server,
    kill,
    requests: 0,
  };
  return pod;
}

/** Of a metric's samples in the text exposition format, all labels or those that hold `label`. */
export const sumOf = (text: string, metric: string, label = ""): number =>
  text
    .split("\n")
    .filter((line) => /^\w+/.exec(line)?.[0] === metric && line.includes(label))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);

export type TestNode = {
  readonly name: string;
  readonly traffic: Traffic;
  readonly metrics: Metrics;
  readonly url: string;
  readonly identity: ProxyIdentity;
  /** Sum of a metric's samples, all labels or those that hold `label`. */
  count(metric: string, label?: string): Promise<number>;
};

export type TestTraffic = {
  readonly cell: TestCell;
  readonly nodes: readonly TestNode[];
  stop(): Promise<void>;
  /** Every node gets the table in which `/` leads to these pods. */
  route(pods: readonly RouteEndpoint[], options?: { path?: string }): Promise<void>;
};

export async function startNodes(
  names: readonly string[],
  more: Partial<TrafficOptions> = {},
): Promise<TestTraffic> {
  const cell = await testCell();
  const nodes: TestNode[] = [];
  for (const name of names) {
    const host = `127.0.0.${10 + Number(name.slice(1))}`;
    const metrics = createMetrics();
    const identity = {
      credentials: await cell.credentials("node", name),
      trust: cell.trust,
      timeOffsetMs: 0,
    };
    const traffic = await startTraffic(
      { clock: systemClock, random: systemRandom, log: silentLog, metrics },
      { node: name, ingress: { host, port: 0 }, mesh: { host, port: 0 }, identity, ...more },
    );
    nodes.push({
      name,
      traffic,
      metrics,
      identity,
      url: `http://${host}:${traffic.ingressPort}`,
      count: async (metric, label) => sumOf(await metrics.render(), metric, label),
    });
  }
  const meshByNode = Object.fromEntries(
    nodes.map(({ name, traffic }) => [
      name,
      { host: `127.0.0.${10 + Number(name.slice(1))}`, port: traffic.meshPort ?? 0 },
    ]),
  );
  return {
    cell,
    nodes,
    async stop() {
      await Promise.all(nodes.map(({ traffic }) => traffic.stop({ graceMs: 100 })));
    },
    async route(pods, { path = "/" } = {}) {
      for (const { name, traffic } of nodes) {
        await traffic.setTable({
          node: name,
          hosts: [{ host: "", paths: [{ path, type: "Prefix", backend: 0 }] }],
          defaultBackend: undefined,
          backends: [
            {
              name: "default/web:80",
              endpoints: pods.map(({ node, ip, port }) => ({ node, ip, port })),
            },
          ],
          served: pods.filter(({ node }) => node === name).map(({ ip, port }) => `${ip}:${port}`),
          meshByNode: Object.fromEntries(
            Object.entries(meshByNode).filter(([node]) => node !== name),
          ),
        } satisfies RouteTable);
      }
    },
  };
}

/** Nodes of one test that breaks them. */
export async function ownNodes(
  t: TestContext,
  names: readonly string[],
  more: Partial<TrafficOptions> = {},
): Promise<TestTraffic> {
  const own = await startNodes(names, more);
  t.after(() => own.stop());
  return own;
}

export async function get(url: string, init: RequestInit = {}) {
  const answer = await fetch(url, init);
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
}
