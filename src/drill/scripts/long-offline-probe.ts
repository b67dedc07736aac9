/**
 * Entries one by one, from somebody who does not know of the backlog. Each has a number: what became of
 * each is known at the end, and at the hub it is told from the backlog's.
 */
import { request } from "undici";
import type { Clock } from "../../lib/clock.ts";
import { ascending, percentile } from "../../lib/percentile.ts";
import { explain } from "../../lib/errors.ts";
import type { NumberRange, NumbersWritten } from "../checkers/numbers.ts";
import type { ProbesSeen } from "./long-offline-verdict.ts";
import { notMeasured } from "./verdict.ts";

const everyMs = 50;
const timeoutMs = 10_000;
/** Above all that the backlog has. */
const firstNumber = 2 ** 40;

type ProbedNode = {
  /** `http://127.0.0.11:7480` */
  readonly gateway: string;
  readonly token: string;
};

export type Probe = {
  /** One entry to a node; what went wrong, or undefined. */
  append(node: ProbedNode): Promise<string | undefined>;
  /** From now on one each time one is due, to one node after another, whatever became of those before. */
  start(): { stop(): Promise<ProbesSeen> };
  written(): NumbersWritten;
};

export function createProbe(
  deps: { readonly clock: Clock; readonly signal: AbortSignal },
  { nodes, stream }: { readonly nodes: readonly ProbedNode[]; readonly stream: string },
): Probe {
  const { clock, signal } = deps;
  const unknown: NumberRange[] = [];
  let next = firstNumber;

  const append: Probe["append"] = async ({ gateway, token }) => {
    const n = next++;
    const failure = await post(`${gateway}/v1/streams/${stream}/entries`, { n, token, signal });
    // A drill that is broken off tells nothing of the cell.
    signal.throwIfAborted();
    if (failure !== undefined) unknown.push([n, n + 1]);
    return failure;
  };

  return {
    append,
    start() {
      const ended = new AbortController();
      const startedMs = clock.monotonicMs();
      const failures: string[] = [];
      const probe = async (index: number, dueMs: number): Promise<number> => {
        const node = nodes[index % nodes.length];
        const failure = node === undefined ? "no node" : await append(node);
        if (failure === undefined) return clock.monotonicMs() - dueMs;
        failures.push(failure);
        return notMeasured;
      };
      const run = async (): Promise<ProbesSeen> => {
        const probes: Promise<number>[] = [];
        for (let index = 0; !ended.signal.aborted; index++) {
          const dueMs = startedMs + index * everyMs;
          await clock.sleep(Math.max(0, dueMs - clock.monotonicMs()), { signal });
          const sent = probe(index, dueMs);
          // It is looked at when all are; until then nobody asks.
          sent.catch(() => undefined);
          probes.push(sent);
        }
        const tookMs = ascending(await Promise.all(probes));
        const p99Ms = Math.round(percentile(tookMs, 0.99) ?? notMeasured);
        return { sent: probes.length, failures, p99Ms };
      };
      const running = run();
      running.catch(() => undefined);
      return {
        async stop() {
          ended.abort();
          return await running;
        },
      };
    },
    written: () => ({ given: [firstNumber, next], unknown }),
  };
}

/** What went wrong, or undefined: an entry that no node takes is a finding, and no end of the drill. */
async function post(
  url: string,
  { n, token, signal }: { n: number; token: string; signal: AbortSignal },
): Promise<string | undefined> {
  try {
    const { statusCode, body } = await request(url, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/x-ndjson" },
      body: `{"site":"probe","value":1,"n":${n}}\n`,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      signal,
    });
    const text = await body.text();
    return statusCode === 200 ? undefined : `${statusCode} ${text.slice(0, 200)}`;
  } catch (error) {
    return explain(error);
  }
}
