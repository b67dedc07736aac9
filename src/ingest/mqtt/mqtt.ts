/** What the MQTT side takes and gives; implemented by `broker.ts`. */
import type { Socket } from "node:net";
import type { TlsOptions } from "node:tls";
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { SecondListener } from "../../runtime/listen/index.ts";
import type { Metrics } from "../../runtime/metrics/index.ts";
import type { Batcher } from "../batcher.ts";
import type { DeadLetters } from "../dead-letters.ts";
import type { MqttStateStore } from "../mqtt-state/index.ts";
import type { Append, AuthorizeAppend, DeclaredStreams, Subject } from "../ports.ts";

export type MqttCredentials = {
  readonly username?: string;
  /** An application token. */
  readonly password?: string;
  /** The SPIFFE id of the client's certificate, when `peerOf` found one. */
  readonly peer?: string;
};

export type MqttDependencies = {
  /** For a broker that shares the store with nobody; see `intake`. */
  readonly append: Append;
  /** Fair to every producer, and shared with the other ways in. */
  readonly intake?: Batcher;
  readonly streams: DeclaredStreams;
  readonly deadLetters: DeadLetters;
  /** Undefined refuses the connection (CONNACK return code 4). */
  readonly authenticate: (credentials: MqttCredentials) => Promise<Subject | undefined>;
  /** The verified id behind a TLS socket; undefined where there is none. */
  readonly peerOf?: (socket: Socket) => string | undefined;
  /** Default: whoever is authenticated may append to any stream. */
  readonly authorize?: AuthorizeAppend;
  /** Sessions and retained messages outlive the agent in it. Absent: they are kept in memory. */
  readonly state?: MqttStateStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
};

export type MqttOptions = {
  /** Of all listeners together. Default 1024. */
  readonly connectionsMax?: number;
  /** Messages of one client that may wait for the store. Default 8192; beyond it the connection is closed. */
  readonly inFlightMax?: number;
  /** Default 10 s; a message whose level is not reached by then is not acknowledged. */
  readonly appendTimeoutMs?: number;
  /** How long a packet may take to its end, and a subscriber to read something. Default 60 s. */
  readonly stallTimeoutMs?: number;
  /** A connection silent for longer is closed, whatever keepalive it asked for. Default 20 min. */
  readonly idleTimeoutMs?: number;
};

export type MqttListenOptions = {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Absent: plain TCP. `requestCert` and trust are the caller's to set. */
  readonly tls?: TlsOptions;
};

export type MqttListener = {
  readonly port: number;
  /** Takes connections at another address of this machine as well. Throws `port-in-use` or `cannot-listen`. */
  alsoAt(host: string): Promise<SecondListener>;
};

export interface MqttIngest {
  /** Throws `port-in-use` or `cannot-listen`. May be called for several listeners. */
  listen(options: MqttListenOptions): Promise<MqttListener>;
  /** A renewed certificate or trust: new connections of the TLS listeners use it. */
  setTls(tls: TlsOptions): void;
  readonly connections: number;
  /** Takes no new messages, lets those on their way to the store end, closes everything. */
  stop(): Promise<void>;
}
