/** What every way through the agent stands on; made once in `agent.ts`. */
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import type { Lifecycle } from "../runtime/lifecycle/index.ts";
import type { LogLevel } from "../runtime/log/index.ts";
import type { Metrics } from "../runtime/metrics/index.ts";
import type { Tracer } from "../runtime/trace/index.ts";
import type { HandlerRouter } from "../transport/index.ts";
import type { NodeRecord } from "./config.ts";
import type { StorageThread } from "./storage.ts";

export type Ground = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly tracer: Tracer;
  readonly lifecycle: Lifecycle;
  readonly dataDir: string;
  readonly version: string;
  readonly logLevel: LogLevel;
  readonly record: NodeRecord;
  /** As the last start kept it. */
  readonly formerHost?: string;
  readonly storage: StorageThread;
  /** Requests that peers and the hub may make over links. */
  readonly router: HandlerRouter;
  /** The cell's time, milliseconds since 1970: certificates are judged by it. */
  readonly nowMs: () => number;
};
