/** The words about each key of a node's configuration; the schema beside it says what is allowed. */
import type { ConfigKey } from "../runtime/config/index.ts";
import type { AgentConfig } from "./config.ts";

/** What people read of each key, in the order of `--help` and docs/configuration.md. */
export const agentConfigKeys: Readonly<Record<keyof AgentConfig, ConfigKey>> = {
  dataDir: {
    text: "folder of this node's data",
    takes: "<dir>",
    default: "/var/lib/skerry",
    flag: "data",
    env: "SKERRY_DATA",
    kept: false,
  },
  cell: { text: "first machine: name of the new cell", takes: "<name>", kept: true },
  node: { text: "name of this machine in the cell", takes: "<name>", kept: true },
  host: {
    text: "this machine's address; every listener binds it",
    takes: "<ip>",
    default: "127.0.0.1",
    kept: true,
  },
  join: {
    text: "further machines: a token from `skerry token create`, good once",
    takes: "<token>",
    secret: true,
    kept: false,
  },
  server: {
    text: "further machines: peers port of a server; later: of any node, for one that finds no other",
    takes: "<host:port>",
    kept: false,
  },
  hub: { text: "hub to enrol the cell at", takes: "<host:port>", kept: true },
  hubToken: {
    text: "enrol token from `skerry token create` on the hub, good once",
    takes: "<token>",
    secret: true,
    kept: false,
  },
  hubProxy: {
    text: "way to the hub: an HTTP proxy that allows CONNECT, as http://USER:PASSWORD@HOST:3128; `off` for none",
    takes: "<url>",
    default: "none",
    secret: true,
    kept: true,
  },
  hubBytesPerSecond: {
    text: "what this node may send to the hub of streams and documents, compressed",
    takes: "<bytes>",
    default: "off",
    kept: true,
  },
  hubBytesPerDay: {
    text: "the same for a day (UTC); the last tenth is left to streams with a priority above 0",
    takes: "<bytes>",
    default: "off",
    kept: true,
  },
  apiPort: {
    text: "cell API; 0 picks a free one, for all ports",
    takes: "<port>",
    default: "7443",
    kept: true,
  },
  meshPort: { text: "mesh between nodes", takes: "<port>", default: "7444", kept: true },
  peersPort: {
    text: "links between nodes, TCP and UDP",
    takes: "<port>",
    default: "7445",
    kept: true,
  },
  gatewayPort: { text: "application gateway", takes: "<port>", default: "7480", kept: true },
  mqttPort: { text: "MQTT with mTLS", takes: "<port>", default: "8883", kept: true },
  mqttPlainPort: {
    text: "plain MQTT, for devices without TLS",
    takes: "<port>",
    default: "off",
    kept: true,
  },
  ingressPort: { text: "ingress", takes: "<port>", default: "8080", kept: true },
  ledgerPort: {
    text: "servers of a cell with several: clients of etcd",
    takes: "<port>",
    default: "7446",
    kept: true,
  },
  ledgerPeersPort: {
    text: "servers of a cell with several: etcd's members among themselves",
    takes: "<port>",
    default: "7447",
    kept: true,
  },
  telemetry: {
    text: "measure this host into the stream `telemetry`",
    takes: "<true|false>",
    default: "true",
    kept: true,
  },
  cellAddress: {
    text: "first machine: address of the cell for ingress, MQTT and API, held by one node at a time; several by commas. Changed later by `kubectl edit celladdress cell`",
    takes: "<ip/prefix>",
    default: "none",
    kept: false,
  },
  cellAddressInterface: {
    text: "network interface for it, on every node; default: the one in its network",
    takes: "<name>",
    kept: false,
  },
  evict: {
    text: "servers, in a cell of two: eager replaces the pods of a silent node although it may be the link that failed, so that two copies may run",
    takes: "<careful|eager>",
    default: "careful",
    kept: true,
  },
  backupEvery: {
    text: "servers: how often the cell is backed up, `off` for never",
    takes: "<duration>",
    default: "1h",
    kept: true,
  },
  logLevel: {
    text: "debug, info, warn or error",
    takes: "<level>",
    default: "info",
    kept: false,
  },
  tracesEndpoint: {
    text: "OpenTelemetry collector that takes OTLP over HTTP, as http://127.0.0.1:4318",
    takes: "<url>",
    default: "off",
    env: "OTEL_EXPORTER_OTLP_ENDPOINT",
    kept: false,
  },
  tracesShare: {
    text: "share of traces begun here that are kept, 0 to 1",
    takes: "<share>",
    default: "1",
    env: "OTEL_TRACES_SAMPLER_ARG",
    kept: false,
  },
};
