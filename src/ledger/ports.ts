/** What the ledger needs of others; bound in `agent/`. */

/** A process that outlives the agent, as the keeper holds it. */
export type EtcdProcessStatus = {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly argv: readonly string[];
  readonly current:
    | { readonly state: "starting" }
    | { readonly state: "running"; readonly pid: number; readonly startedMs: number }
    | { readonly state: "stopping"; readonly pid: number; readonly startedMs: number }
    | {
        readonly state: "exited";
        readonly exit: {
          readonly code?: number;
          readonly signal?: number;
          readonly reason: string;
        };
        readonly startedMs: number | undefined;
        readonly endedMs: number;
      };
  /** Holds `00000000.log`, `00000001.log`, …: CRI lines (`TIME stdout F text`), newest last. */
  readonly logDirectory: string;
};

export type EtcdProcessSpec = {
  /** Unique for ever: letters, digits, `-`, `_` and `.`. */
  readonly id: string;
  readonly argv: readonly string[];
  /** All of it: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly limits: { readonly memoryBytes?: number; readonly cpuMilli?: number };
  readonly labels: Readonly<Record<string, string>>;
  readonly graceMs: number;
};

/**
 * Holds etcd's processes. The keeper's `KeeperProcesses` fits as it is, narrowed to the containers
 * whose labels say that they are the ledger's (`etcdLabel`).
 */
export interface EtcdProcessHost {
  start(spec: EtcdProcessSpec): Promise<EtcdProcessStatus>;
  /** TERM, and KILL after `graceMs`; resolves with it exited. */
  stop(id: string, options: { graceMs: number }): Promise<EtcdProcessStatus>;
  remove(id: string): Promise<void>;
  list(): Promise<readonly EtcdProcessStatus[]>;
  /** One changed, or (undefined) all of them may have. Returns the function that ends it. */
  onChange(listener: (status: EtcdProcessStatus | undefined) => void): () => void;
}
