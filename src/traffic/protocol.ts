/** What the main thread and the proxy thread say to each other. Plain data only. */
import type { EncodedError } from "../lib/errors.ts";
import type { Credentials, Trust } from "../transport/index.ts";
import type { Counts, Levels } from "./engines/node/counts.ts";
import type { Latencies } from "./engines/node/latency.ts";
import type { RouteTable } from "./routes/table.ts";

export type ListenAddress = { readonly host: string; readonly port: number };

export type ProxyIdentity = {
  readonly credentials: Credentials;
  /** Of this cell: whose nodes may speak on the mesh. */
  readonly trust: Trust;
  /** The cell's time less this host's. */
  readonly timeOffsetMs: number;
};

export type ProxyLimits = {
  /** Of clients at the ingress; beyond it the one that was idle longest is closed. */
  readonly connectionsMax: number;
  /** Requests under way at the ingress; beyond it 503. */
  readonly underWayMax: number;
  /** To a pod or a node. */
  readonly connectTimeoutMs: number;
  /** Until an application begins its answer. */
  readonly responseTimeoutMs: number;
  /** An attempt at another node may wait this long before its proxy is pinged. */
  readonly patienceMs: number;
  /** For the answer to a ping; without one the node is silent. */
  readonly pongMs: number;
  /** What waits at a silent node and cannot be repeated is cut after this. */
  readonly silenceMs: number;
  /** For a client to send its headers, and its whole request. */
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** Between two pieces of a request's body. */
  readonly bodyIdleTimeoutMs: number;
  /** Of one request's body. */
  readonly bodyBytesMax: number;
  /** For a client to take the piece of an answer that waits for it. */
  readonly clientStallMs: number;
  /** For an answer that nobody waits for any more, before its connection is ended instead. */
  readonly unheardMs: number;
};

export const proxyLimitsDefault: ProxyLimits = {
  connectionsMax: 8192,
  underWayMax: 4096,
  connectTimeoutMs: 250,
  responseTimeoutMs: 30_000,
  patienceMs: 150,
  pongMs: 200,
  silenceMs: 5_000,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 3_600_000,
  bodyIdleTimeoutMs: 20_000,
  bodyBytesMax: 1024 ** 3,
  clientStallMs: 60_000,
  unheardMs: 1_000,
};

export type ProxyStart = {
  readonly node: string;
  /** Absent: this node takes no HTTP from outside. */
  readonly ingress?: ListenAddress;
  readonly mesh?: ListenAddress;
  readonly identity: ProxyIdentity;
  /** Absent: not known yet, which is not the same as no routes. */
  readonly table?: RouteTable;
  readonly limits: ProxyLimits;
};

export type ProxyPorts = { readonly ingressPort?: number; readonly meshPort?: number };

export type ProxyMethods = {
  start(options: ProxyStart): Promise<ProxyPorts>;
  setTable(table: RouteTable): void;
  setIdentity(identity: ProxyIdentity): void;
  /** The ingress listens on these as well, and on no others. Throws `port-in-use` or `cannot-listen`. */
  setIngressAlso(hosts: readonly string[]): Promise<void>;
  /** Takes nothing new, waits for what is under way, then closes everything. */
  stop(options: { readonly graceMs: number }): Promise<void>;
};

export type ProxyEvents = {
  /** What was added since the last time, what stands now, and how long what ended had taken. */
  counts: { readonly added: Counts; readonly now: Levels; readonly latencies: Latencies };
  log: {
    readonly level: "debug" | "info" | "warn" | "error";
    readonly message: string;
    readonly fields: Readonly<Record<string, unknown>> & { readonly error?: EncodedError };
  };
};
