/** What the verbs of this room share. */
import type { authorize } from "../authorization/index.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import type { Resources } from "../resources/index.ts";
import type { ObjectEncoder } from "./encoded.ts";
import type { KindIndex } from "./kind-index.ts";
import type { PodLogs } from "./ports.ts";

export type Limits = {
  /** How long a client that watches may leave its connection unread before it is let go. */
  readonly watchStallMs: number;
  /** The longest a watch may last; clients begin a new one. */
  readonly watchAgeMaxMs: number;
};

export type VerbDependencies = {
  readonly resources: Resources;
  readonly index: KindIndex;
  readonly encoder: ObjectEncoder;
  readonly authorize: typeof authorize;
  readonly podLogs: PodLogs;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: Limits;
};
