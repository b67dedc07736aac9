/**
 * What of MQTT outlives the agent: sessions that are kept, what waits for them, retained messages, and
 * the wills of clients that are connected.
 * Plain data, since the store stands in another thread.
 */
import type { Thread } from "../../runtime/thread/index.ts";

/** Unique for each session ever kept here, so that what is left of an ended one belongs to nobody. */
export type SessionKey = number;

/** Unique likewise: a client's next will is another one. */
export type WillKey = number;

export type SavedSubscription = {
  readonly text: string;
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly identifier?: number;
};

export type SavedSession = {
  readonly key: SessionKey;
  readonly id: string;
  /** The identity that it belongs to. */
  readonly owner: string;
  readonly expirySeconds: number;
  readonly subscriptions: readonly SavedSubscription[];
};

/** Everything of a message but its payload. */
export type SavedMessage = {
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly from: string;
  readonly properties?: {
    readonly payloadFormatIndicator?: boolean;
    readonly contentType?: string;
    readonly responseTopic?: string;
    /** Base64. */
    readonly correlationData?: string;
    readonly userProperties?: Readonly<Record<string, string | string[]>>;
  };
  readonly propertyBytes?: number;
  /** By the wall clock, which is the only one that outlives a restart. */
  readonly expiresAtWallMs?: number;
};

/** A QoS 1 or 2 message on its way to a session. */
export type SavedFlight = {
  readonly session: SessionKey;
  /** Order within the session. */
  readonly sequence: number;
  readonly messageId: number;
  /** QoS 2, after PUBREC: only the identifier counts. */
  readonly isReleased: boolean;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  readonly identifiers?: readonly number[];
  readonly message: SavedMessage;
  readonly payload: Uint8Array;
};

export type SavedWill = {
  readonly key: WillKey;
  /** The client identifier. */
  readonly id: string;
  readonly owner: string;
  readonly delaySeconds: number;
  readonly expirySeconds?: number;
  readonly message: SavedMessage;
  readonly payload: Uint8Array;
};

type FlightName = { readonly session: SessionKey; readonly sequence: number };
type ReceivedName = { readonly session: SessionKey; readonly messageId: number };

/** Applied as one transaction, in this order. */
export type StateBatch = {
  readonly sessions: readonly SavedSession[];
  readonly queued: readonly SavedFlight[];
  readonly released: readonly FlightName[];
  readonly settled: readonly FlightName[];
  /** QoS 2 messages that a client sent and did not release. */
  readonly received: readonly ReceivedName[];
  readonly completed: readonly ReceivedName[];
  readonly retained: readonly { readonly message: SavedMessage; readonly payload: Uint8Array }[];
  readonly unretained: readonly string[];
  readonly ended: readonly SessionKey[];
  readonly wills: readonly SavedWill[];
  /** Published, or not wanted any more. */
  readonly willsEnded: readonly WillKey[];
};

export type SavedState = {
  readonly sessions: readonly SavedSession[];
  /** By session and sequence. */
  readonly flights: readonly SavedFlight[];
  readonly received: readonly ReceivedName[];
  readonly retained: StateBatch["retained"];
  readonly wills: readonly SavedWill[];
};

export interface MqttStateStore {
  load(): Promise<SavedState>;
  /** Durable when it resolves; all of it or nothing. */
  apply(batch: StateBatch): Promise<void>;
}

/** `type`, not `interface`: it is part of a thread's methods. */
export type MqttStateMethods = {
  "mqtt.load": (argument: undefined) => Promise<SavedState>;
  "mqtt.apply": (batch: StateBatch) => Promise<void>;
};

/** For `serveThread`, in the thread that opened the store. */
export function serveMqttState(store: MqttStateStore): MqttStateMethods {
  return {
    "mqtt.load": () => store.load(),
    "mqtt.apply": (batch) => store.apply(batch),
  };
}

/** The calling side. */
export function connectMqttState(thread: Pick<Thread<MqttStateMethods>, "call">): MqttStateStore {
  return {
    load: () => thread.call("mqtt.load", undefined),
    apply: (batch) => thread.call("mqtt.apply", batch),
  };
}
