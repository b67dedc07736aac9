/** The main thread's half: a thread that reads is started by the first question and ends when none came for a while. */
import type { Clock, Timer } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { startThread, type Thread } from "../../runtime/thread/index.ts";
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
  { clock }: { clock: Clock },
  { entry, files, idleMs = idleMsDefault }: { entry: URL; files: AuditFiles; idleMs?: number },
): Audits {
  let thread: Promise<Thread<AuditMethods>> | undefined;
  let idle: Timer | undefined;
  let isStopped = false;

  const running = (): Promise<Thread<AuditMethods>> => {
    if (isStopped)
      throw new SkerryError({ code: "closed", message: "audits ended here", retryable: true });
    if (thread) return thread;
    const starting = startThread<AuditMethods>(entry, { name: "audit", data: files, heapMbMax });
    thread = starting;
    const forget = () => {
      if (thread === starting) thread = undefined;
    };
    starting.then(({ ended }) => ended).then(forget, forget);
    return starting;
  };
  const end = async (): Promise<void> => {
    idle?.cancel();
    const ending = thread;
    thread = undefined;
    await (await ending)?.terminate();
  };
  const ask = async (method: keyof AuditSide, request: object): Promise<unknown> => {
    idle?.cancel();
    const { call } = (await running()) as unknown as {
      call(name: string, argument: object): Promise<unknown>;
    };
    try {
      return await call(`audit.${method}`, request);
    } finally {
      idle?.cancel();
      if (!isStopped) idle = clock.after(idleMs, () => void end());
    }
  };
  const side = Object.fromEntries(
    methods.map((method) => [method, (request: object) => ask(method, request)]),
  ) as unknown as AuditSide;
  return {
    ...side,
    async stop() {
      isStopped = true;
      await end();
    },
  };
}
