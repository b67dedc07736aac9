/**
 * The broker's half of what outlives it: gathers changes while a batch is being made durable, and says
 * when each is. One batch is under way at a time, so that what is written later was decided later. What
 * could not be removed is removed with the next batch: it would come back after a restart.
 */
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type {
  MqttStateStore,
  SavedFlight,
  SavedMessage,
  SavedSession,
  SavedWill,
  SessionKey,
  StateBatch,
  WillKey,
} from "../mqtt-state/index.ts";
import type { MessageProperties } from "./codec.ts";
import type { Message, Outgoing } from "./message.ts";

export interface Journal {
  /** For a session or a will. */
  newKey(): SessionKey;
  /** Each resolves once it is durable, and rejects with what the store said. */
  session(saved: SavedSession): Promise<void>;
  queued(key: SessionKey, flight: JournaledFlight): Promise<void>;
  released(key: SessionKey, sequence: number): Promise<void>;
  received(key: SessionKey, messageId: number): Promise<void>;
  completed(key: SessionKey, messageId: number): Promise<void>;
  retained(message: Message): Promise<void>;
  will(saved: Omit<SavedWill, "payload">, payload: Buffer): Promise<void>;
  /** Nobody waits for these. */
  settled(key: SessionKey, sequence: number): void;
  ended(key: SessionKey): void;
  willEnded(key: WillKey): void;
  /** Resolves when nothing is to be written any more, or cannot be. */
  idle(): Promise<void>;
}

export type JournaledFlight = {
  readonly sequence: number;
  readonly messageId: number;
  readonly outgoing: Outgoing;
};

type Building = {
  sessions: Map<SessionKey, SavedSession>;
  queued: SavedFlight[];
  released: StateBatch["released"][number][];
  settled: StateBatch["settled"][number][];
  received: StateBatch["received"][number][];
  completed: StateBatch["completed"][number][];
  /** Undefined: removed. */
  retained: Map<string, StateBatch["retained"][number] | undefined>;
  ended: SessionKey[];
  wills: SavedWill[];
  willsEnded: WillKey[];
  readonly done: PromiseWithResolvers<void>;
};

/** Removals that are kept for later while the disk takes nothing; older ones are sent again after a restart. */
const leftMax = 65_536;
const nothingLeft = { settled: [], ended: [], willsEnded: [] };

export function createJournal(
  deps: { readonly store: MqttStateStore; readonly clock: Clock; readonly log: Log },
  firstKey: SessionKey,
): Journal {
  const { store, clock, log } = deps;
  let nextKey = firstKey;
  let building: Building | undefined;
  let running: Promise<void> | undefined;
  let left: Pick<Building, "settled" | "ended" | "willsEnded"> = nothingLeft;

  const add = (change: (to: Building) => void): Promise<void> => {
    if (!building) {
      building = empty();
      // Whoever waits for it hears of it by its own promise.
      building.done.promise.catch(() => {});
      running ??= run();
    }
    change(building);
    return building.done.promise;
  };

  const run = async () => {
    // What else happens in this turn shares the batch.
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (let current = building; current; current = building) {
      building = undefined;
      const settled = [...left.settled, ...current.settled];
      const ended = [...left.ended, ...current.ended];
      const willsEnded = [...left.willsEnded, ...current.willsEnded];
      try {
        await store.apply(batchOf({ ...current, settled, ended, willsEnded }));
        left = nothingLeft;
        current.done.resolve();
      } catch (error) {
        log.error("MQTT sessions could not be written", { error });
        left = {
          settled: settled.slice(-leftMax),
          ended: ended.slice(-leftMax),
          willsEnded: willsEnded.slice(-leftMax),
        };
        current.done.reject(error);
      }
    }
    running = undefined;
  };

  return {
    newKey: () => nextKey++,
    session: (saved) => add(({ sessions }) => sessions.set(saved.key, saved)),
    queued: (session, { sequence, messageId, outgoing }) =>
      add(({ queued }) => {
        const { message, qos, retain, identifiers } = outgoing;
        queued.push({
          ...{ session, sequence, messageId, retain, isReleased: false },
          qos: qos === 2 ? 2 : 1,
          ...(identifiers ? { identifiers } : {}),
          message: savedMessage(message, clock),
          payload: exactBytes(message.payload),
        });
      }),
    released: (session, sequence) => add(({ released }) => released.push({ session, sequence })),
    received: (session, messageId) => add(({ received }) => received.push({ session, messageId })),
    completed: (session, messageId) =>
      add(({ completed }) => completed.push({ session, messageId })),
    retained: (message) =>
      add(({ retained }) => {
        const { topic, payload } = message;
        const isEmpty = payload.length === 0;
        const kept = { message: savedMessage(message, clock), payload: exactBytes(payload) };
        retained.set(topic, isEmpty ? undefined : kept);
      }),
    settled: (session, sequence) => void add(({ settled }) => settled.push({ session, sequence })),
    will: (saved, payload) =>
      add(({ wills }) => wills.push({ ...saved, payload: exactBytes(payload) })),
    ended: (key) => void add(({ ended }) => ended.push(key)),
    willEnded: (key) => void add(({ willsEnded }) => willsEnded.push(key)),
    // `run` ends only when nothing is left to write.
    idle: async () => running,
  };
}

const empty = (): Building => ({
  sessions: new Map(),
  queued: [],
  released: [],
  settled: [],
  received: [],
  completed: [],
  retained: new Map(),
  ended: [],
  wills: [],
  willsEnded: [],
  done: Promise.withResolvers<void>(),
});

function batchOf({ sessions, retained, done: _done, ...lists }: Building): StateBatch {
  return {
    ...lists,
    sessions: [...sessions.values()],
    retained: [...retained.values()].filter((kept) => kept !== undefined),
    unretained: [...retained].flatMap(([topic, kept]) => (kept ? [] : [topic])),
  };
}

/** Between threads a view takes the whole buffer behind it along. */
const exactBytes = (bytes: Buffer) => new Uint8Array(bytes);

export function savedMessage(message: Message, clock: Clock): SavedMessage {
  const { topic, qos, retain, from, properties, propertyBytes, expiresAtMs } = message;
  const { correlationData, ...others } = properties ?? {};
  return {
    ...{ topic, qos, retain, from },
    ...(properties
      ? {
          properties: {
            ...others,
            ...(correlationData ? { correlationData: correlationData.toString("base64") } : {}),
          },
        }
      : {}),
    ...(propertyBytes === undefined ? {} : { propertyBytes }),
    ...(expiresAtMs === undefined
      ? {}
      : { expiresAtWallMs: clock.wallMs() + (expiresAtMs - clock.monotonicMs()) }),
  };
}

/** The message again, its expiry by the clock that runs now. */
export function restoredMessage(saved: SavedMessage, payload: Uint8Array, clock: Clock): Message {
  const { properties: given, expiresAtWallMs, ...others } = saved;
  const { correlationData, userProperties, ...rest } = given ?? {};
  const properties: MessageProperties = {
    ...rest,
    ...(correlationData === undefined
      ? {}
      : { correlationData: Buffer.from(correlationData, "base64") }),
    ...(userProperties ? { userProperties: { ...userProperties } } : {}),
  };
  return {
    ...others,
    payload: Buffer.from(payload),
    ...(given ? { properties } : {}),
    ...(expiresAtWallMs === undefined
      ? {}
      : { expiresAtMs: clock.monotonicMs() + (expiresAtWallMs - clock.wallMs()) }),
  };
}
