/**
 * What is said over the keeper's socket: JSON lines. A request carries an id and gets one reply;
 * events come by themselves. The first request is `hello`, which settles the version. The keeper of
 * yesterday and the agent of tomorrow meet here: fields are added, never changed in meaning, and
 * what would change one is a new version.
 */
import type { EncodedError } from "../lib/errors.ts";

/** Spoken by this build. A keeper refuses what it does not speak with `keeper-protocol`. */
export const protocolVersion = 1;

/** Longer lines end the connection: nothing that belongs here is longer. */
export const lineBytesMax = 4 * 1024 * 1024;

export type Request = { readonly id: number; readonly method: string; readonly params?: unknown };
export type Reply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: EncodedError };
export type EventLine = { readonly event: string; readonly data: unknown };

/** `tool` looks and asks; `agent` is the supervised agent, whose pings say that it is up. */
export type ClientRole = "agent" | "tool";

export type Hello = {
  readonly protocol: number;
  readonly pid: number;
  readonly bootId: string;
  /** Wall clock at its start; a later keeper of this node has a greater one. */
  readonly startedMs: number;
  /** The package's; absent in keepers of before 0.2. */
  readonly version?: string;
  /** Knows `leaseTtlMs` and `leaseSentBootMs`; absent in keepers of before 0.2. */
  readonly leases?: "per-container";
};

/** What the keeper needs in order to run an agent, now and after each of its deaths. */
export type AgentSpec = {
  /** Absolute path of the entry. */
  readonly entry: string;
  readonly args: readonly string[];
  /** Flags of Node itself, before the entry. */
  readonly nodeArgs?: readonly string[];
  /** Added to the keeper's own environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Gets what the agent says on standard output and error. */
  readonly logPath: string;
  /** The Node binary that runs it; absent: the keeper's own, which an upgrade may have removed. */
  readonly node?: string;
  /** An agent that ends so at its first start after `agentStart` will not do better at the next: it stays down. */
  readonly hopelessExitCode?: number;
};

export type AgentState =
  | { readonly state: "none" }
  | { readonly state: "running"; readonly pid: number; readonly restarts: number }
  | { readonly state: "waiting"; readonly restarts: number; readonly restartInMs: number }
  | { readonly state: "stopping"; readonly pid: number };

/** One process to hold; the agent decides when it starts, stops and is forgotten. */
export type ContainerSpec = {
  /** Unique for ever, letters, digits, `-`, `_` and `.`: it names a folder. */
  readonly id: string;
  /** The command and its arguments; the first is looked up in `env.PATH` when it has no slash. */
  readonly argv: readonly string[];
  /** All of it: nothing is inherited. Not written to disk. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly limits: { readonly memoryBytes?: number; readonly cpuMilli?: number };
  /** Kept and given back, never looked into. */
  readonly labels: Readonly<Record<string, string>>;
  /** How long it may take to end after TERM when the keeper stops it by itself. */
  readonly graceMs: number;
  /** Runs only while the node's lease does (`leaseRenew`). */
  readonly leased?: boolean;
  /** How long one renewal lets it run; absent: as long as the renewal says. */
  readonly leaseTtlMs?: number;
  /** Of the renewal after which the agent made sure that it is still wanted: starts by none later. */
  readonly leaseSentBootMs?: number;
};

export type ExitReason =
  /** Ended by itself or by a signal from outside. */
  | "exited"
  /** The kernel killed it for memory. */
  | "oom"
  | "stopped"
  | "lease-expired"
  /** It never ran: its cgroup or command could not be entered. */
  | "start-failed"
  /** How it ended is not known: the host was restarted, or its shim was killed as well. */
  | "unknown";

export type Exit = {
  /** As a shell reports it: 128 + signal for a killed process. Absent when unknown. */
  readonly code?: number;
  readonly signal?: number;
  readonly reason: ExitReason;
};

export type Enforcement = {
  /** Of the limits asked for: `none` when at least one is not enforced here. */
  readonly limits: "enforced" | "none";
  /** `group` misses children that started a session of their own. */
  readonly kill: "cgroup" | "group";
};

export type ContainerState =
  | { readonly state: "starting" }
  | { readonly state: "running"; readonly pid: number; readonly startedMs: number }
  | { readonly state: "stopping"; readonly pid: number; readonly startedMs: number }
  | {
      readonly state: "exited";
      readonly exit: Exit;
      readonly startedMs: number | undefined;
      readonly endedMs: number;
    };

export type ContainerStatus = {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly argv: readonly string[];
  readonly current: ContainerState;
  readonly enforcement: Enforcement;
  /** Holds `00000000.log`, `00000001.log`, …: CRI lines (`TIME stdout F text`), newest last. */
  readonly logDirectory: string;
};

export type ExecResult = {
  /** Absent when it did not end in time. */
  readonly code?: number;
  /** The first 64 KiB. */
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
};

export type BeatPeer = { readonly host: string; readonly port: number };

export type BeatConfiguration = {
  readonly node: string;
  /** PKCS #8 PEM of the identity key (P-256). */
  readonly keyPem: string;
  /** The identity leaf, DER in base64. */
  readonly certificateBase64: string;
  readonly peers: readonly BeatPeer[];
  /** The node's own address: beats come from it. */
  readonly bindAddress?: string;
};

export type KeeperStatus = {
  readonly keeper: Hello & { readonly residentBytes: number };
  readonly agent: AgentState;
  /** As the beats say it. */
  readonly agentUp: boolean;
  readonly containers: readonly ContainerStatus[];
  /** What a container started now could have. */
  readonly enforcement: Enforcement;
  readonly beats: { readonly sent: number; readonly peers: number };
  /** Boot-time milliseconds; absent before the first renewal of this boot. */
  readonly leaseUntilBootMs?: number;
};

/** Argument and result by method. */
export type Methods = {
  hello: [{ protocol: number; role: ClientRole; pid: number }, Hello];
  ping: [{}, {}];
  status: [{}, KeeperStatus];
  agentStart: [{ spec: AgentSpec }, AgentState];
  agentStop: [{ graceMs: number }, AgentState];
  containerStart: [{ spec: ContainerSpec }, ContainerStatus];
  containerStop: [{ id: string; graceMs: number }, ContainerStatus];
  containerRemove: [{ id: string }, {}];
  containerList: [{}, readonly ContainerStatus[]];
  containerExec: [{ id: string; argv: readonly string[]; timeoutMs: number }, ExecResult];
  beatsConfigure: [BeatConfiguration, {}];
  /** Milliseconds since each node was last heard. */
  beatsHeard: [{ heard: Readonly<Record<string, number>> }, {}];
  /** `sentBootMs`: when the renewal that succeeded was sent to the server. */
  leaseRenew: [{ sentBootMs: number; ttlMs: number }, {}];
  shutdown: [{ agentGraceMs: number; stopContainers: boolean }, {}];
};
export type MethodName = keyof Methods;

export type Events = { container: ContainerStatus; agent: AgentState };

/** Cuts a byte stream into lines; `onTooLong` is called once, and nothing after it. */
export function lineReader(
  onLine: (line: string) => void,
  onTooLong: () => void,
): (chunk: Buffer) => void {
  let rest: Buffer[] = [];
  let restBytes = 0;
  let over = false;
  return (chunk) => {
    if (over) return;
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      rest.push(chunk.subarray(start, end));
      onLine(Buffer.concat(rest).toString());
      rest = [];
      restBytes = 0;
      start = end + 1;
    }
    if (start === chunk.length) return;
    rest.push(chunk.subarray(start));
    restBytes += chunk.length - start;
    if (restBytes > lineBytesMax) {
      over = true;
      rest = [];
      onTooLong();
    }
  };
}
