/**
 * What runs containers: processes of the host (`process/`), later Podman. A driver holds instances,
 * one for each start of a container; it decides nothing: when to start, restart or forget is the pod
 * runner's. Instances outlive the agent, `list` finds them again. All drivers pass
 * `test/contract/driver.ts`.
 */
export type InstanceSpec = {
  /** `PODUID_CONTAINER_ATTEMPT`; letters, digits, `-`, `_`, `.`. Unique for ever. */
  readonly id: string;
  readonly owner: InstanceOwner;
  readonly image: string;
  /** The command with its arguments, expanded. */
  readonly argv: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  readonly user?: number;
  readonly group?: number;
  readonly limits: { readonly memoryBytes?: number; readonly cpuMilli?: number };
  /** How long it may take to end when it is stopped without the pod at hand. */
  readonly graceMs: number;
  /** `skerry.dev/on-partition: stop`: runs only while the node's lease does. */
  readonly leased: boolean;
  /** Of a leased one: how long a renewal lets it run. */
  readonly leaseTtlMs?: number;
  /** It may be started by this renewal and by none sent later. */
  readonly leaseSentBootMs?: number;
};

/** Whose instance it is; kept by the driver and given back. */
export type InstanceOwner = {
  readonly podUid: string;
  readonly namespace: string;
  readonly podName: string;
  readonly container: string;
  /** 0 for the first start: the restart count. */
  readonly attempt: number;
  /** Ends in a row that came too soon, before this start: what the backoff counts. */
  readonly crashes: number;
};

export type InstanceExit = {
  /** 128 + signal for a killed one; absent when nobody saw the end. */
  readonly code?: number;
  readonly signal?: number;
  readonly reason: "exited" | "oom" | "stopped" | "lease-expired" | "start-failed" | "unknown";
};

export type InstanceState =
  | { readonly state: "starting" }
  | { readonly state: "running"; readonly startedMs: number }
  | { readonly state: "stopping"; readonly startedMs: number }
  | {
      readonly state: "exited";
      readonly exit: InstanceExit;
      readonly startedMs?: number;
      readonly endedMs: number;
    };

/** What the driver can do here; a limit that it cannot enforce becomes a condition of the pod. */
export type DriverAbilities = {
  readonly limits: "enforced" | "none";
  /** `group`: children that started a session of their own survive a stop. */
  readonly kill: "cgroup" | "group";
  readonly network: "isolated" | "shared";
};

export type Instance = {
  readonly id: string;
  readonly owner: InstanceOwner;
  readonly graceMs: number;
  readonly current: InstanceState;
  readonly abilities: DriverAbilities;
};

export type ExecOutcome = {
  /** Absent when it did not end in time. */
  readonly code?: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
};

export type LogOptions = {
  /** Goes on until the instance has ended. */
  readonly follow?: boolean;
  readonly tailLines?: number;
  /** Only lines from this wall time on. */
  readonly sinceMs?: number;
  /** Each line begins with its RFC 3339 time. */
  readonly timestamps?: boolean;
  readonly signal?: AbortSignal;
};

/** Throws `container-unknown`, and what its engine throws (retryable when that does not answer). */
export interface Driver {
  readonly name: string;
  abilities(): Promise<DriverAbilities>;
  /**
   * Idempotent by id. Throws `container-command` when there is nothing to run, `image-unsupported`
   * when the driver cannot run such an image.
   */
  start(spec: InstanceSpec): Promise<Instance>;
  /** TERM, the grace, KILL; resolves when nothing of it runs. */
  stop(id: string, options: { graceMs: number }): Promise<Instance>;
  /** Forgets an ended one with its logs. Idempotent. */
  remove(id: string): Promise<void>;
  list(): Promise<readonly Instance[]>;
  /** One changed, or (undefined) all of them may have. Returns the function that unsubscribes. */
  onChange(listener: (instance: Instance | undefined) => void): () => void;
  exec(id: string, argv: readonly string[], options: { timeoutMs: number }): Promise<ExecOutcome>;
  logs(id: string, options: LogOptions): AsyncIterable<Uint8Array>;
}

export const instanceId = (owner: Pick<InstanceOwner, "podUid" | "container" | "attempt">) =>
  `${owner.podUid}_${owner.container}_${owner.attempt}`;
