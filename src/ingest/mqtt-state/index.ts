/** What of MQTT outlives the agent, alone: for the thread that holds it, which needs no broker. */
export { openMqttState, type MqttStateFile } from "./sqlite.ts";
export {
  connectMqttState,
  serveMqttState,
  type MqttStateMethods,
  type MqttStateStore,
  type SavedFlight,
  type SavedMessage,
  type SavedSession,
  type SavedState,
  type SavedWill,
  type SessionKey,
  type StateBatch,
  type WillKey,
} from "./state.ts";
