/** What the workloads need of others; bound by the root. */
import type { Pod, PodStatus } from "../api/index.ts";

/** The node's keeper, as the process driver uses it (`keeper.processes` fits). */
export interface ProcessHost {
  /** Idempotent by id. Throws `container-command` when there is nothing to run. */
  start(spec: ProcessSpec): Promise<ProcessStatus>;
  /** Resolves when nothing of it runs. */
  stop(id: string, options: { graceMs: number }): Promise<ProcessStatus>;
  remove(id: string): Promise<void>;
  list(): Promise<readonly ProcessStatus[]>;
  exec(id: string, argv: readonly string[], options: { timeoutMs: number }): Promise<ProcessExec>;
  enforcement(): Promise<ProcessEnforcement>;
  /** One changed, or (undefined) all of them may have. Returns the function that unsubscribes. */
  onChange(listener: (status: ProcessStatus | undefined) => void): () => void;
}

export type ProcessSpec = {
  readonly id: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly limits: { readonly memoryBytes?: number; readonly cpuMilli?: number };
  readonly labels: Readonly<Record<string, string>>;
  readonly graceMs: number;
  readonly leased?: boolean;
  readonly leaseTtlMs?: number;
  readonly leaseSentBootMs?: number;
};

export type ProcessEnforcement = {
  readonly limits: "enforced" | "none";
  readonly kill: "cgroup" | "group";
};

export type ProcessExit = {
  readonly code?: number;
  readonly signal?: number;
  readonly reason: "exited" | "oom" | "stopped" | "lease-expired" | "start-failed" | "unknown";
};

export type ProcessStatus = {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly current:
    | { readonly state: "starting" }
    | { readonly state: "running" | "stopping"; readonly pid: number; readonly startedMs: number }
    | {
        readonly state: "exited";
        readonly exit: ProcessExit;
        readonly startedMs: number | undefined;
        readonly endedMs: number;
      };
  readonly enforcement: ProcessEnforcement;
  /** Files `00000000.log`, … of CRI lines, newest last. */
  readonly logDirectory: string;
};

export type ProcessExec = {
  readonly code?: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
};

export type PodEvent =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: Pod }
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string };

/** The pods bound to this node, from the mirror. */
export interface PodSource {
  /**
   * All pods there are as ADDED, one BOOKMARK, then changes. The first BOOKMARK is a statement: what
   * was not named before it is gone, and is stopped. Never send it for a mirror that was not read.
   * May end or throw; it is opened again with backoff.
   */
  watch(options: { signal: AbortSignal }): AsyncIterable<PodEvent>;
}

/** `later`: could not be written now and is tried again. `gone`: the pod is no more, or another. */
export type ReportOutcome = "done" | "gone" | "later";

export interface StatusSink {
  /** Writes the status of the pod with this very uid. */
  report(pod: Pod, status: PodStatus, options: { signal: AbortSignal }): Promise<ReportOutcome>;
  /** Nothing of the pod runs any more: deletes it with grace 0 and its uid as precondition. */
  confirmDeleted(pod: Pod, options: { signal: AbortSignal }): Promise<ReportOutcome>;
}

export interface ConfigMapSource {
  /** Undefined when there is none; throws when that cannot be told now. */
  data(namespace: string, name: string): Promise<Readonly<Record<string, string>> | undefined>;
}

/** Who is led to pods of this node. Absent: nobody. */
export interface Rotation {
  /** Whether requests are still sent to the pod, as far as this node knows. */
  holds(pod: Pod): Promise<boolean>;
}

export interface PodEnvironment {
  /** SKERRY_GATEWAY, SKERRY_TOKEN_FILE and what else a root gives; its own writing of the token is done here. */
  variables(pod: Pod): Promise<Readonly<Record<string, string>>>;
  /** The pod was found running: what an earlier agent gave it is kept good from now on. */
  adopt(pod: Pod): void;
  /** The pod is gone: what was made for it may go. */
  release(podUid: string): Promise<void>;
}

/** May a pod that runs at most once be started now? By which renewal of the node's lease. */
export type Admission =
  | { readonly ok: true; readonly sentBootMs: number }
  | { readonly ok: false; readonly reason: string; readonly message: string };

export interface SingleStarts {
  /**
   * Renews the node's lease where it is not fresh, and then asks the ledger, not a copy of it, whether
   * the pod is still wanted here: whatever was decided while this node was cut off stands in there.
   */
  admit(pod: Pod, options: { signal: AbortSignal }): Promise<Admission>;
}
