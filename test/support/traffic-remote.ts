/** A node of a cell in a process of its own (`traffic-node.entry.ts`), which can be stopped whole. */
import { fork } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { TestContext } from "node:test";
import type { RouteEndpoint, RouteTable } from "../../src/traffic/index.ts";
import type { NodeOrder, NodeStart, NodeWord } from "./traffic-node.entry.ts";
import { sumOf } from "./traffic.ts";
import type { TestCell } from "./transport.ts";

const entry = resolve(import.meta.dirname, "./traffic-node.entry.ts");

export type RemoteNode = RouteEndpoint & {
  readonly meshPort: number;
  /** 0 when it was started without a table. */
  readonly ingressPort: number;
  readonly held: { gets: number; posts: number };
  stop(): void;
  /** Whether `stop` has reached every thread. */
  isStopped(): boolean;
  goOn(): void;
  /** Answers what it holds. */
  release(): void;
  /** Sum of a metric's samples, all labels or those that hold `label`. */
  count(metric: string, label?: string): Promise<number>;
};

export async function startRemote(
  t: TestContext,
  cell: TestCell,
  node: string,
  table?: RouteTable,
): Promise<RemoteNode> {
  const ip = `127.0.0.${10 + Number(node.slice(1))}`;
  const child = fork(entry, { serialization: "advanced", stdio: ["ignore", 2, 2, "ipc"] });
  t.after(() => child.kill("SIGKILL"));
  const held = { gets: 0, posts: 0 };
  const ready = Promise.withResolvers<Extract<NodeWord, { say: "ready" }>>();
  const asked: ((text: string) => void)[] = [];
  child.on("message", (word: NodeWord) => {
    if (word.say === "ready") ready.resolve(word);
    else if (word.say === "metrics") asked.shift()?.(word.text);
    else Object.assign(held, { gets: word.gets, posts: word.posts });
  });
  const credentials = await cell.credentials("node", node);
  const identity = { credentials, trust: cell.trust, timeOffsetMs: 0 };
  child.send({ node, host: ip, identity, ...(table && { table }) } satisfies NodeStart);
  const order = (what: NodeOrder) => void child.send(what);
  const { meshPort, podPort, ingressPort } = await ready.promise;
  return {
    node,
    ip,
    port: podPort,
    meshPort,
    ingressPort,
    held,
    stop: () => void child.kill("SIGSTOP"),
    isStopped() {
      const tasks = `/proc/${child.pid}/task`;
      return readdirSync(tasks).every((task) =>
        /^State:\s+T/m.test(readFileSync(`${tasks}/${task}/status`, "utf8")),
      );
    },
    goOn: () => void child.kill("SIGCONT"),
    release: () => order("release"),
    async count(metric, label) {
      const text = new Promise<string>((resolve) => asked.push(resolve));
      order("metrics");
      return sumOf(await text, metric, label);
    },
  };
}
