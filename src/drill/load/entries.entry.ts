/**
 * Open-loop entry load over HTTP and MQTT, a process of its own. Every entry carries (producer, epoch,
 * sequence) and is offered, to one node after another, until some node acknowledges it; a share is
 * sent again on purpose. Same calling convention as `requests.entry.ts`.
 */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { Agent, request } from "undici";
import { explain } from "../../lib/errors.ts";
import { seededRandom } from "../../lib/random.ts";
import { systemClock } from "../../runtime/clock/index.ts";
import { keyLine, type EntryLoadConfig, type EntryLoadResult } from "./entries.ts";
import { connectPublisher, type Publisher } from "./mqtt-publisher.ts";
import { dueAfterMs, type Pace } from "./ramp.ts";

type Node = EntryLoadConfig["nodes"][number];
type Entry = { readonly producer: string; readonly sequence: number; readonly dueMs: number };

const [configPath = "", resultPath = ""] = process.argv.slice(2);
const config = JSON.parse(readFileSync(configPath, "utf8")) as EntryLoadConfig;
const random = seededRandom(config.seed);
const epoch = 1;
const agent = new Agent({
  connections: 32,
  // A dead machine says nothing: whoever waits for it longer than for an answer waits for nobody.
  connectTimeout: config.attemptTimeoutMs,
  headersTimeout: config.attemptTimeoutMs,
  bodyTimeout: config.attemptTimeoutMs,
});
const publishersByNode = new Map<string, Promise<Publisher>>();
const sequenceByProducer = new Map<string, number>();
const latenciesMs: number[] = [];
const byNode: Record<string, Record<number, number>> = {};
const failures: Record<string, number> = {};
const work = new Set<Promise<void>>();
let produced = 0;
let acknowledged = 0;
let resent = 0;
let attemptsFailed = 0;
const stop = new AbortController();
let giveUpMs = Number.POSITIVE_INFINITY;

process.stdin.on("end", () => {
  stop.abort();
  giveUpMs = systemClock.monotonicMs() + config.graceMs;
});
process.stdin.resume();

writeFileSync(config.acknowledgedPath, "");
const startedMs = systemClock.monotonicMs();
const perTick = Math.max(1, Math.round((config.perSecond * config.tickMs) / 1000));
const pace: Pace = { ...config, perSecond: 1000 / config.tickMs };
for (let tick = 0; !stop.signal.aborted; tick++) {
  const dueMs = startedMs + dueAfterMs(tick, pace);
  const waitMs = dueMs - systemClock.monotonicMs();
  if (waitMs > 0) await systemClock.sleep(waitMs);
  const transport = tick % 2 === 0 ? "http" : "mqtt";
  const batch = produce(`drill-${transport}`, perTick, dueMs);
  const running = deliver(
    transport,
    batch,
    random.integer(config.nodes.length),
    random.float() < config.resendShare,
  ).finally(() => work.delete(running));
  work.add(running);
}
await Promise.all(work);
for (const publisher of publishersByNode.values())
  (await publisher.catch(() => undefined))?.close();
await agent.destroy();
writeFileSync(
  resultPath,
  JSON.stringify({
    produced,
    acknowledged,
    unacknowledged: produced - acknowledged,
    byNode,
    resent,
    latenciesMs,
    attemptsFailed,
    failures,
  } satisfies EntryLoadResult),
);
process.exit(0);

function produce(producer: string, count: number, dueMs: number): Entry[] {
  const first = (sequenceByProducer.get(producer) ?? 0) + 1;
  sequenceByProducer.set(producer, first + count - 1);
  produced += count;
  return Array.from({ length: count }, (_, index) => ({
    producer,
    sequence: first + index,
    dueMs,
  }));
}

async function deliver(
  transport: "http" | "mqtt",
  batch: readonly Entry[],
  firstNode: number,
  again: boolean,
): Promise<void> {
  let waiting = batch;
  let attempt = 0;
  for (; waiting.length > 0 && systemClock.monotonicMs() < giveUpMs; attempt++) {
    const node = nodeAt(firstNode + attempt);
    const done = await offer(transport, waiting, node);
    acknowledge(done, node);
    waiting = waiting.filter((entry) => !done.includes(entry));
    if (waiting.length > 0 && attempt >= config.nodes.length - 1) await systemClock.sleep(50);
  }
  if (again && waiting.length === 0) {
    // Only what was taken a second time has tried anything: the first node may be a dead one.
    for (let extra = 0; extra < config.nodes.length && !stop.signal.aborted; extra++) {
      const taken = await offer(transport, batch, nodeAt(firstNode + attempt + extra));
      resent += taken.length;
      if (taken.length > 0) break;
    }
  }
}

function nodeAt(index: number): Node {
  const node = config.nodes[index % config.nodes.length];
  if (!node) throw new Error("no nodes");
  return node;
}

/** Writes the keys down before anybody counts them: what stands in the file was acknowledged. */
function acknowledge(entries: readonly Entry[], { name }: Node): void {
  if (entries.length === 0) return;
  const nowMs = systemClock.monotonicMs();
  appendFileSync(
    config.acknowledgedPath,
    entries.map(({ producer, sequence }) => `${keyLine(producer, epoch, sequence)}\n`).join(""),
  );
  acknowledged += entries.length;
  const bySecond = (byNode[name] ??= {});
  const second = Math.floor(systemClock.wallMs() / 1000);
  bySecond[second] = (bySecond[second] ?? 0) + entries.length;
  for (const { dueMs } of entries) latenciesMs.push(nowMs - dueMs);
}

/** The entries that this node acknowledged. Never throws: a refusal is counted by its words. */
async function offer(
  transport: "http" | "mqtt",
  batch: readonly Entry[],
  node: Node,
): Promise<readonly Entry[]> {
  try {
    return transport === "http" ? await offerByHttp(batch, node) : await offerByMqtt(batch, node);
  } catch (error) {
    countFailure(`${transport} ${node.name}: ${explain(error)}`);
    return [];
  }
}

function countFailure(reason: string): void {
  attemptsFailed++;
  const known = reason in failures || Object.keys(failures).length < 50;
  const key = known ? reason : "other";
  failures[key] = (failures[key] ?? 0) + 1;
}

function payload({ producer, sequence }: Entry): string {
  return JSON.stringify({
    $key: { producer, epoch, sequence },
    value: sequence % 1000,
    site: "drill",
  });
}

async function offerByHttp(batch: readonly Entry[], node: Node): Promise<readonly Entry[]> {
  const answer = await request(
    `${node.gateway}/v1/streams/${config.stream}/entries?timeoutMs=${config.attemptTimeoutMs}`,
    {
      method: "POST",
      dispatcher: agent,
      headers: { authorization: `Bearer ${node.token}`, "content-type": "application/x-ndjson" },
      body: batch.map((entry) => `${payload(entry)}\n`).join(""),
    },
  );
  const text = await answer.body.text();
  if (answer.statusCode === 200) return batch;
  throw new Error(`status ${answer.statusCode}: ${text.slice(0, 200)}`);
}

async function offerByMqtt(batch: readonly Entry[], node: Node): Promise<readonly Entry[]> {
  const publisher = await publisherOf(node);
  const outcomes = await Promise.allSettled(
    batch.map((entry) =>
      withTimeout(publisher.publish(`streams/${config.stream}`, payload(entry)), "no PUBACK"),
    ),
  );
  const rejected = outcomes.find((outcome) => outcome.status === "rejected");
  if (rejected) {
    countFailure(`mqtt ${node.name}: ${explain(rejected.reason)}`);
    publisher.close();
  }
  return batch.filter((_, index) => outcomes[index]?.status === "fulfilled");
}

async function publisherOf(node: Node): Promise<Publisher> {
  const existing = await publishersByNode.get(node.name)?.catch(() => undefined);
  if (existing && !existing.closed) return existing;
  const clientId = `drill-${config.seed}-${node.name}-${produced}`;
  const fresh = connectPublisher({
    ...node.mqtt,
    clientId,
    username: "drill",
    password: node.token,
    timeoutMs: config.attemptTimeoutMs,
    clock: systemClock,
  });
  publishersByNode.set(node.name, fresh);
  return fresh;
}

function withTimeout<T>(promise: Promise<T>, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = systemClock.after(config.attemptTimeoutMs, () =>
      reject(new Error(`${what} within ${config.attemptTimeoutMs} ms`)),
    );
    promise.then(resolve, reject).finally(() => timer.cancel());
  });
}
