/** The main thread's half: a thread that reads is started by the first question and ends when none came for a while. */
import type { Clock } from "../../lib/clock.ts";
import { createOnDemandThread, startThread } from "../../runtime/thread/index.ts";
import type { AuditEngine, AuditFiles } from "./engine.ts";
import type { AuditSide } from "./sides.ts";

const methods = [
  "names",
  "open",
  "look",
  "prints",
  "split",
  "keys",
  "documentPrints",
  "documents",
  "entries",
  "removed",
  "forget",
] as const satisfies readonly (keyof AuditSide)[];

export type AuditMethods = {
  readonly [Method in keyof AuditSide as `audit.${Method}`]: AuditSide[Method];
};

/** In the thread: what `serveThread` is to offer. */
export const serveAuditEngine = (engine: AuditEngine): AuditMethods =>
  Object.fromEntries(
    methods.map((method) => [`audit.${method}`, engine[method]]),
  ) as unknown as AuditMethods;

export type Audits = AuditSide & { stop(): Promise<void> };

/** Longer than a scan that nobody asks for is kept. */
const idleMsDefault = 180_000;
const heapMbMax = 256;

/** `entry`: serves an engine of these files. */
export function createAudits(
  deps: { clock: Clock },
  { entry, files, idleMs = idleMsDefault }: { entry: URL; files: AuditFiles; idleMs?: number },
): Audits {
  const thread = createOnDemandThread<AuditMethods>(deps, {
    ...{ what: "audits", idleMs },
    start: () => startThread<AuditMethods>(entry, { name: "audit", data: files, heapMbMax }),
  });
  const ask = (method: keyof AuditSide, request: object): Promise<unknown> =>
    thread.use((running) => {
      const { call } = running as unknown as {
        call(name: string, argument: object): Promise<unknown>;
      };
      return call(`audit.${method}`, request);
    });
  const side = Object.fromEntries(
    methods.map((method) => [method, (request: object) => ask(method, request)]),
  ) as unknown as AuditSide;
  return { ...side, stop: () => thread.stop() };
}
