/** What every way through the hub stands on; made once in `hub.ts`. */
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import type { Lifecycle } from "../runtime/lifecycle/index.ts";
import type { PostgresAddress } from "../runtime/postgres/index.ts";
import type { HubRecord } from "./config.ts";

export type HubGround = {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly lifecycle: Lifecycle;
  readonly dataDir: string;
  readonly record: HubRecord;
  /** Where the authority's key is, when this start was told. */
  readonly authorityKey?: string;
  /** Absent: streams and the fleet are in the data folder. */
  readonly postgres?: PostgresAddress;
};
