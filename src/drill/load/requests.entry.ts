/**
 * Open-loop load of idempotent requests, a process of its own that knows nothing of the cell's inside. Reads its
 * configuration as JSON from the file named by the first argument, runs until standard input ends,
 * waits for what is in flight, and writes all samples to the file named by the second.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { Agent, request } from "undici";
import { explain } from "../../lib/errors.ts";
import { systemClock } from "../../runtime/clock/index.ts";
import { dueAfterMs } from "./ramp.ts";
import type { RequestLoadConfig, RequestLoadResult, RequestSample } from "./requests.ts";

const [configPath = "", resultPath = ""] = process.argv.slice(2);
const config = JSON.parse(readFileSync(configPath, "utf8")) as RequestLoadConfig;
const agent = new Agent({
  connections: 64,
  pipelining: 1,
  connectTimeout: config.deadlineMs,
  headersTimeout: config.deadlineMs,
  bodyTimeout: config.deadlineMs,
});
const methods = config.methods ?? ["GET"];
const samples: RequestSample[] = [];
const inFlight = new Set<Promise<void>>();
const stop = new AbortController();
process.stdin.on("end", () => {
  stop.abort();
});
process.stdin.resume();

const startedMs = systemClock.monotonicMs();
const wallOffsetMs = systemClock.wallMs() - startedMs;

for (let sent = 0; !stop.signal.aborted; sent++) {
  const dueMs = startedMs + dueAfterMs(sent, config);
  const waitMs = dueMs - systemClock.monotonicMs();
  if (waitMs > 1) await systemClock.sleep(waitMs);
  const target = config.targets[sent % config.targets.length];
  if (!target) throw new Error("no targets");
  if (inFlight.size >= config.inFlightMax) {
    samples.push({
      atMs: dueMs + wallOffsetMs,
      target: target.name,
      tookMs: 0,
      failure: "too many requests in flight",
    });
    continue;
  }
  // Every target gets every method.
  const method = methods[Math.floor(sent / config.targets.length) % methods.length] ?? "GET";
  const running = send(target, method, dueMs).finally(() => inFlight.delete(running));
  inFlight.add(running);
  // A full turn of the event loop now and then, so that answers are read while we are behind.
  if (sent % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
}
await Promise.all(inFlight);
await agent.destroy();
writeFileSync(resultPath, JSON.stringify({ samples } satisfies RequestLoadResult));
process.exit(0);

async function send(
  target: RequestLoadConfig["targets"][number],
  method: (typeof methods)[number],
  dueMs: number,
): Promise<void> {
  const abort = new AbortController();
  const late = Promise.withResolvers<never>();
  const timer = systemClock.after(
    Math.max(0, dueMs + config.deadlineMs - systemClock.monotonicMs()),
    () => {
      const reason = new Error(`no answer within ${config.deadlineMs} ms`);
      abort.abort(reason);
      // A request that waits for a connection to a silent machine hears of its abort only with it.
      late.reject(reason);
    },
  );
  let failure: string | undefined;
  let by: string | undefined;
  try {
    const answer = await Promise.race([ask(target, method, abort.signal), late.promise]);
    if (answer.status < 200 || answer.status > 299)
      failure = `${method}: status ${answer.status}: ${answer.body.slice(0, 200)}`;
    else by = podOf(answer.body);
  } catch (error) {
    failure = `${method}: ${explain(error)}`;
  } finally {
    timer.cancel();
  }
  const tookMs = systemClock.monotonicMs() - dueMs;
  samples.push({
    atMs: dueMs + wallOffsetMs,
    target: target.name,
    tookMs,
    ...(by === undefined ? {} : { by }),
    ...(failure === undefined ? {} : { failure }),
  });
}

async function ask(
  target: RequestLoadConfig["targets"][number],
  method: (typeof methods)[number],
  signal: AbortSignal,
): Promise<{ status: number; body: string }> {
  const answer = await request(target.url, {
    method,
    dispatcher: agent,
    signal,
    ...(method === "PUT" ? { body: "the drill's" } : {}),
    ...(target.headers ? { headers: target.headers } : {}),
  });
  return { status: answer.statusCode, body: await answer.body.text() };
}

/** The example application answers with its pod's name; others need not. */
function podOf(body: string): string | undefined {
  return /"pod":\s*"([^"]+)"/.exec(body)?.[1];
}
