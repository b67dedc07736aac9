/**
 * The way of a reading: MQTT, HTTP or the host's own telemetry → the level asked for → [storage
 * thread] append, group commit, fsync → the level reached → the acknowledgement.
 */
import { join } from "node:path";
import { parseDurabilityLevel, streamKind, type Stream } from "../../api/index.ts";
import type { Durability } from "../../data/index.ts";
import {
  createBatcher,
  createMqttIngest,
  httpIngestRoutes,
  nextEpoch,
  openDeadLetters,
  startTelemetry,
  type MqttListener,
  type StreamDeclaration,
} from "../../ingest/index.ts";
import { connectDeadLetterStore } from "../../ingest/dead-letters-state/index.ts";
import { connectMqttState } from "../../ingest/mqtt-state/index.ts";
import { createHostReader, measureFsyncMs } from "../../runtime/host/index.ts";
import type { Routes } from "../../runtime/http/index.ts";
import { serverTlsOptions, verifyPeer } from "../../transport/index.ts";
import { TLSSocket } from "node:tls";
import type { Ground } from "../ground.ts";
import type { Mirrored } from "../mirrored.ts";
import type { IdentityPath } from "./identity-path.ts";

export type SensorPath = {
  /** For the gateway: append, and what was refused lately. */
  readonly routes: Routes;
  /** HOST:PORT of each listener. */
  readonly mqtt: string;
  readonly mqttPlain: string | undefined;
  /** For the cell's addresses. */
  readonly listeners: readonly MqttListener[];
};

export async function startSensorPath(
  ground: Ground,
  deps: {
    append: Durability["append"];
    mirrored: Mirrored;
    identity: IdentityPath;
  },
): Promise<SensorPath> {
  const { clock, log, metrics, lifecycle, record, dataDir, nowMs } = ground;
  const { append } = deps;
  const { identity } = deps.identity;
  const streams = declarations(deps.mirrored);
  const deadLetters = await lifecycle.start(
    "dead letters",
    () => {
      const store = connectDeadLetterStore(ground.storage);
      return openDeadLetters({ clock, saved: { store, log } });
    },
    (letters) => letters.close(),
  );
  const intake = createBatcher({ append, clock, metrics });

  const mqtt = await lifecycle.start(
    "mqtt",
    () =>
      createMqttIngest({
        append,
        intake,
        streams,
        deadLetters,
        state: connectMqttState(ground.storage),
        clock,
        log,
        metrics,
        peerOf: (socket) => {
          if (!(socket instanceof TLSSocket)) return undefined;
          const verdict = verifyPeer(socket, [identity.trust], nowMs());
          return verdict.ok ? verdict.subject.id : undefined;
        },
        authenticate: async ({ password, peer }: { password?: string; peer?: string }) =>
          peer !== undefined
            ? { id: peer }
            : password === undefined
              ? undefined
              : deps.identity.authenticateToken(password),
      }),
    (ingest) => ingest.stop(),
  );
  const { host, ports } = record;
  const tls = () =>
    serverTlsOptions({
      credentials: identity.serving,
      trusts: [identity.trust],
      requestCert: true,
    });
  const secure = await mqtt.listen({ host, port: ports.mqtt, tls: tls() });
  identity.onChange(() => mqtt.setTls(tls()));
  const plain =
    ports.mqttPlain === undefined ? undefined : await mqtt.listen({ host, port: ports.mqttPlain });

  if (record.telemetry) {
    await lifecycle.start(
      "telemetry",
      () =>
        startTelemetry(
          {
            append,
            host: createHostReader({ clock }, { dataFolder: dataDir }),
            measureFsyncMs: () => measureFsyncMs({ clock }, dataDir),
            deadLetters,
            clock,
            log,
            metrics,
          },
          { node: record.node, epoch: nextEpoch({ clock, log }, join(dataDir, "telemetry.epoch")) },
        ),
      (source) => source.stop(),
    );
  }
  return {
    routes: httpIngestRoutes({ append, intake, streams, deadLetters, clock, metrics }),
    mqtt: `${host}:${secure.port}`,
    mqttPlain: plain && `${host}:${plain.port}`,
    listeners: plain === undefined ? [secure] : [secure, plain],
  };
}

/** The declared streams as ingest reads them; the same array until one changes. */
function declarations(mirrored: Mirrored): () => readonly StreamDeclaration[] {
  let current: readonly StreamDeclaration[] = [];
  mirrored.follow(streamKind, (streams: readonly Stream[]) => {
    current = streams.map(({ metadata, spec }) => ({
      name: metadata.name,
      durability: parseDurabilityLevel(spec?.durability ?? "local") ?? { level: "local" },
      mqttTopics: spec?.mqtt?.topics ?? [],
    }));
  });
  return () => current;
}
