/** Cells for a bench: real nodes, started and stopped through the command line only. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { skerryJson } from "../../src/drill/site/command.ts";
import { createTlsFetch, type TlsFetch } from "../../src/runtime/tls-fetch/index.ts";
import type { Access } from "../../src/runtime/local/index.ts";
import type { Endpoint } from "./senders/tls.ts";

export type BenchNode = {
  readonly node: string;
  readonly dataDir: string;
  readonly agentPid: number;
  readonly api: string;
  readonly peers: string;
  /** `http://HOST:PORT` */
  readonly gateway: string;
  readonly mqtt: string;
};

export type Cell = AsyncDisposable & {
  readonly nodes: readonly BenchNode[];
  /** The administrator's certificate, and where the first node's API answers to it. */
  readonly access: Access;
  /** An application's token, good at every node. */
  readonly token: string;
  /** The cell API with the administrator's certificate; the path of the URL is enough. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Where the first node takes MQTT. */
  readonly mqtt: Endpoint;
};

/**
 * Whether `dist/` is at least as new as `src/`: then commands run from there from now on, as an
 * installed package does. A build that is behind would measure what is not in front of the reader.
 */
export function preferBuilt(): "dist" | "src" {
  const root = join(import.meta.dirname, "..", "..");
  const newest = (folder: string): number =>
    Math.max(
      0,
      ...readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs),
    );
  try {
    if (newest(join(root, "dist")) < newest(join(root, "src"))) return "src";
  } catch {
    // Nothing was built.
    return "src";
  }
  process.env["SKERRY_DIST"] = "1";
  return "dist";
}

/** Starts one node a host; the first is the server. `objects` are applied before anything is measured. */
export async function startCell(options: {
  folder: string;
  cell: string;
  hosts: readonly string[];
  /** Of every node; without them nothing is measured or logged beside what is asked for. */
  flags?: readonly string[];
  signal: AbortSignal;
}): Promise<Cell> {
  const { folder, cell, hosts, signal } = options;
  await using stack = new AsyncDisposableStack();
  const up = (index: number, flags: readonly string[]) => {
    const dataDir = join(folder, `n${index + 1}`);
    stack.defer(async () => void (await skerryJson(["down", "--data", dataDir])));
    const at = ["--data", dataDir, "--node", `n${index + 1}`, "--host", hosts[index] ?? ""];
    const how = options.flags ?? ["--telemetry", "false", "--log-level", "warn"];
    return skerryJson<BenchNode>(["up", "--detach", ...at, ...how, ...flags], { signal });
  };
  const first = await up(0, ["--cell", cell]);
  const nodes = [first];
  for (let index = 1; index < hosts.length; index++) {
    const create = ["token", "create", "--node", `n${index + 1}`, "--data", first.dataDir];
    const { token } = await skerryJson<{ token: string }>(create, { signal });
    nodes.push(await up(index, ["--join", token, "--server", first.peers]));
  }
  const data = ["--data", first.dataDir];
  const access = await skerryJson<Access>(["kubeconfig", ...data], { signal });
  const { token } = await skerryJson<{ token: string }>(
    ["token", "create", "--app", "bench", ...data],
    { signal },
  );
  const tls: TlsFetch = createTlsFetch(access);
  stack.defer(() => tls.close());
  const [host = "", port] = first.mqtt.split(":");
  const kept = stack.move();
  return {
    nodes,
    access,
    token,
    fetch: (path, init) => tls.fetch(`${access.server}${path}`, init),
    mqtt: { host, port: Number(port), ...access },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Applies an object of `skerry.dev/v1alpha1` without a namespace, and waits until MQTT and HTTP know it. */
export async function declareStream(
  cell: Cell,
  stream: { name: string; durability: string },
): Promise<void> {
  const created = await cell.fetch("/apis/skerry.dev/v1alpha1/streams", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      apiVersion: "skerry.dev/v1alpha1",
      kind: "Stream",
      metadata: { name: stream.name },
      // Nothing is retired while it is measured.
      spec: { durability: stream.durability, retention: { maxBytes: "8Gi" } },
    }),
  });
  if (!created.ok) throw new Error(`stream ${stream.name}: ${await created.text()}`);
  const untilMs = performance.now() + 30_000;
  for (;;) {
    const url = `${cell.nodes[0]?.gateway}/v1/streams/${stream.name}/entries`;
    const answer = await fetch(url, {
      method: "POST",
      headers: { authorization: `Bearer ${cell.token}`, "content-type": "application/json" },
      body: "{}",
    });
    const text = await answer.text();
    if (answer.status === 200) return;
    if (performance.now() > untilMs) throw new Error(`stream ${stream.name}: ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The control thread's event-loop delay at p99 since this was last asked of the node, in ms. */
export async function eventLoopDelayP99Ms(cell: Cell): Promise<number> {
  const answer = await cell.fetch("/metrics");
  const line = (await answer.text())
    .split("\n")
    .find((text) => text.startsWith("skerry_event_loop_delay_seconds{") && text.includes('"0.99"'));
  if (line === undefined) throw new Error("/metrics tells no event-loop delay");
  return Number(line.split(" ").at(-1)) * 1000;
}
