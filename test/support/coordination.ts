/** Coordination for tests: over HTTP at a gateway of its own, and as a simulated service. */
import type { TestContext } from "node:test";
import { createGateway, type GatewayLimits } from "../../src/gateway/index.ts";
import {
  createCoordinationRoutes,
  createCoordinationService,
  type Coordination,
  type CoordinationLimits,
  type CoordinationService,
} from "../../src/ledger/applications/index.ts";
import type { Ledger } from "../../src/ledger/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { hostDeps } from "./ledger.ts";

/** Where a timeout is not what is tested, a machine that stands still must not make one. */
export const patientMs = 60_000;

/** `good-NAME` is the token of the application NAME, anything else is nobody's. */
export const authenticate = async (token: string) => {
  const name = /^good-([a-z0-9]+)$/.exec(token)?.[1];
  return name === undefined ? undefined : { id: `spiffe://mill.skerry/app/${name}` };
};

export function startService(
  t: TestContext,
  ledger: Ledger,
  options: { limits?: Partial<CoordinationLimits>; timeoutMs?: number } = {},
): CoordinationService {
  const service = createCoordinationService(
    { ...hostDeps, ledger },
    { timeoutMs: patientMs, ...options },
  );
  t.after(() => service.close());
  return service;
}

export type Called = {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into any answer
  readonly json: any;
};

export type TestGateway = {
  readonly url: string;
  call(path: string, init?: RequestInit & { token?: string }): Promise<Called>;
  stop(): Promise<void>;
};

export async function startGateway(
  t: TestContext,
  coordination: Coordination,
  options: { limits?: Partial<GatewayLimits> } = {},
): Promise<TestGateway> {
  const { routes, endStreams } = createCoordinationRoutes({ coordination, clock: systemClock });
  const gateway = await createGateway(
    {
      authenticate,
      routes: [routes],
      clock: systemClock,
      log: silentLog,
      metrics: createMetrics(),
    },
    { host: "127.0.0.1", port: 0, ...options },
  );
  const stop = async () => {
    endStreams();
    await gateway.stop();
  };
  t.after(stop);
  return {
    url: gateway.url,
    stop,
    async call(path, { token = "good-a", ...init } = {}) {
      const answer = await fetch(`${gateway.url}/v1/coordination${path}`, {
        ...init,
        headers: { authorization: `Bearer ${token}`, ...(init.headers as object) },
      });
      const text = await answer.text();
      const isJson = answer.headers.get("content-type")?.startsWith("application/json");
      return {
        status: answer.status,
        headers: answer.headers,
        text,
        json: isJson ? JSON.parse(text) : undefined,
      };
    },
  };
}

export type SentEvent = {
  readonly event: string;
  readonly id: string | undefined;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into any event
  readonly data: any;
};

/** Server-sent events of an open answer, comments left out. */
export async function* sentEvents(answer: Response): AsyncGenerator<SentEvent> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of answer.body ?? []) {
    const blocks = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
      const event = field("event");
      if (event !== undefined)
        yield { event, id: field("id"), data: JSON.parse(field("data") ?? "null") };
    }
  }
}
