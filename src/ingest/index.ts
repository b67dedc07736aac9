/** Every way in: MQTT, HTTP, and the host's own telemetry. */
export { createBatcher, type Batcher, type BatcherOptions } from "./batcher.ts";
export {
  createDeadLetters,
  openDeadLetters,
  type DeadLetter,
  type DeadLetters,
} from "./dead-letters.ts";
export { entryBytesMax } from "./entry-body.ts";
export type { Reading } from "./host/readings.ts";
export {
  nextEpoch,
  startTelemetry,
  type TelemetryDependencies,
  type TelemetryOptions,
  type TelemetrySource,
} from "./host/source.ts";
export { httpIngestRoutes, type AppendAnswer, type HttpIngestDependencies } from "./http/routes.ts";
export { topicMatches } from "./mapping.ts";
export { createMqttIngest } from "./mqtt/broker.ts";
export type {
  MqttCredentials,
  MqttDependencies,
  MqttIngest,
  MqttListener,
  MqttListenOptions,
  MqttOptions,
} from "./mqtt/mqtt.ts";
export type {
  Append,
  AuthorizeAppend,
  DeclaredStreams,
  StreamDeclaration,
  Subject,
} from "./ports.ts";
