/**
 * The command of one etcd member. Flags that 3.4, 3.5 and 3.6 all have; what only some of them know
 * goes through the environment, where the others leave it with a warning.
 */
import { isIPv6 } from "node:net";
import type { EtcdVersion } from "./version.ts";

export type EtcdTimers = { readonly heartbeatMs: number; readonly electionMs: number };

/** etcd's own. */
export const defaultTimers: EtcdTimers = { heartbeatMs: 100, electionMs: 1_000 };

export type EtcdTlsFiles = { readonly cert: string; readonly key: string; readonly ca: string };

export type EtcdMemberOptions = {
  readonly name: string;
  /** The folder of its data, and of nothing else. */
  readonly dataDir: string;
  /** Address that it listens on, for clients and for its peers. */
  readonly host: string;
  readonly clientPort: number;
  readonly peerPort: number;
  /** Address that others reach it at, where it is another one (a link proxy, a NAT). Default: the above. */
  readonly advertised?: { readonly clientUrl?: string; readonly peerUrl?: string };
  /** PEM files; read again for every connection, so a renewed leaf needs no restart. */
  readonly files: EtcdTlsFiles;
  /** Only for its clients, where these are others than its peers. Default: as for the peers. */
  readonly clients?: { readonly host: string; readonly files: EtcdTlsFiles };
  /** Where it shows its figures over plain HTTP, for whoever is on this machine. */
  readonly metricsUrl?: string;
  /** It answers its peers and calls none of them: one behind a NAT, or that shall open nothing. */
  readonly dialsNobody?: boolean;
  /** Common name that a peer's certificate must have. */
  readonly peerCommonName: string;
  /** Used by the first start with an empty folder only. */
  readonly initial: {
    readonly state: "new" | "existing";
    /** Different for every cluster that ever was: members of two never speak with each other. */
    readonly token: string;
    /** All members, this one included. */
    readonly peers: readonly { readonly name: string; readonly peerUrl: string }[];
  };
  readonly timers: EtcdTimers;
  /** Size of its file above which it refuses writes. Default 2 GiB. */
  readonly quotaBytes?: number;
  /** How often a watch without events is told how far history has gone. Default 5 s. */
  readonly bookmarkMs?: number;
  /** Makes its data those of a cluster of its own: for recovery from a lost quorum. Default false. */
  readonly forceNewCluster?: boolean;
};

export type EtcdCommand = {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

/** All it would call goes by way of a proxy that is not there; Go leaves loopback out of that. */
const deafEnd = { HTTPS_PROXY: "http://127.0.0.1:9", NO_PROXY: "" };

export const etcdUrl = (host: string, port: number) =>
  `https://${isIPv6(host) ? `[${host}]` : host}:${port}`;

export function etcdCommand(options: EtcdMemberOptions, version: EtcdVersion): EtcdCommand {
  const { name, host, files, initial, timers, advertised } = options;
  const clients = options.clients ?? { host, files };
  const clientUrl = etcdUrl(clients.host, options.clientPort);
  const peerUrl = etcdUrl(host, options.peerPort);
  const flags: Record<string, string | number> = {
    name,
    "data-dir": options.dataDir,
    "listen-client-urls": clientUrl,
    "listen-peer-urls": peerUrl,
    "advertise-client-urls": advertised?.clientUrl ?? clientUrl,
    "initial-advertise-peer-urls": advertised?.peerUrl ?? peerUrl,
    "initial-cluster": initial.peers.map((peer) => `${peer.name}=${peer.peerUrl}`).join(","),
    "initial-cluster-state": initial.state,
    "initial-cluster-token": initial.token,
    "cert-file": clients.files.cert,
    "key-file": clients.files.key,
    "trusted-ca-file": clients.files.ca,
    "client-cert-auth": "true",
    "peer-cert-file": files.cert,
    "peer-key-file": files.key,
    "peer-trusted-ca-file": files.ca,
    "peer-client-cert-auth": "true",
    "peer-cert-allowed-cn": options.peerCommonName,
    "heartbeat-interval": timers.heartbeatMs,
    "election-timeout": timers.electionMs,
    // A member that comes back from behind a cut does not depose a leader that is well.
    "pre-vote": "true",
    "quota-backend-bytes": options.quotaBytes ?? 2 * 1024 ** 3,
    // The ledger's limits (128 conditions and operations) and the engine's own conditions and marks.
    "max-txn-ops": 1_024,
    "max-request-bytes": 4 * 1024 * 1024,
    // Fewer entries in memory; a member that is further behind gets the whole state.
    "snapshot-count": 10_000,
    "grpc-keepalive-min-time": "1s",
    "grpc-keepalive-interval": "10s",
    "grpc-keepalive-timeout": "5s",
    logger: "zap",
    "log-outputs": "stderr",
    "log-level": "info",
    ...(options.metricsUrl === undefined ? {} : { "listen-metrics-urls": options.metricsUrl }),
  };
  // What 3.6 took out of its experiments lost that word.
  const prefix = version.major > 3 || version.minor >= 6 ? "ETCD_" : "ETCD_EXPERIMENTAL_";
  return {
    args: [
      ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`),
      ...(options.forceNewCluster ? ["--force-new-cluster"] : []),
    ],
    env: {
      ETCD_ENABLE_GRPC_GATEWAY: "false",
      [`${prefix}WATCH_PROGRESS_NOTIFY_INTERVAL`]: `${options.bookmarkMs ?? 5_000}ms`,
      // A peer's connection may come from an address that its leaf does not name: behind a NAT, of
      // a second network, or of the loopback. Authority and common name are what it is known by.
      [`${prefix}PEER_SKIP_CLIENT_SAN_VERIFICATION`]: "true",
      // Its memory is small and garbage; a node of the edge has little to give.
      GOGC: "50",
      ...(options.dialsNobody ? deafEnd : {}),
    },
  };
}
