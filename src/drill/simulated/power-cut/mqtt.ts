/**
 * MQTT's state: each batch is there whole once it was applied, and with it everything before. A session
 * goes through versions; what one version leaves of flights, identifiers, retained messages and wills
 * follows from its number.
 */
import { join } from "node:path";
import {
  openMqttState,
  type SavedMessage,
  type SavedState,
  type StateBatch,
} from "../../../ingest/mqtt-state/index.ts";
import { deps, few, type Part } from "./part.ts";

/** `version` 0: it ended. */
type Applied = { readonly session: number; readonly version: number };

const versionsMax = 5;
/** How many versions later something is over. */
const lasts = { flight: 3, released: 1, received: 2, will: 2 };
const nothing: StateBatch = {
  ...{ sessions: [], queued: [], released: [], settled: [], received: [], completed: [] },
  ...{ retained: [], unretained: [], ended: [], wills: [], willsEnded: [] },
};

export const mqttPart: Part = {
  name: "mqtt",
  async write({ folder, life, random, more, acknowledge }) {
    const store = open(folder);
    const client = async (number: number) => {
      for (let round = 0; more(); round++) {
        const session = life * 1_000_000 + round * 10 + number;
        const filler = "x".repeat(random.integer(1500));
        for (let version = 1; version <= versionsMax && more(); version++) {
          await store.apply(batchOf(session, version, filler));
          acknowledge({ session, version } satisfies Applied);
        }
        if (!more()) return;
        await store.apply(endOf(session));
        acknowledge({ session, version: 0 } satisfies Applied);
      }
    };
    await Promise.all([1, 2].map(client));
  },
  async check(folder, acknowledged) {
    const store = open(folder);
    try {
      const complaints = judge(await store.load(), acknowledged as readonly Applied[]);
      // On it goes as if nothing had been.
      await store.apply(batchOf(1, 1, ""));
      return complaints;
    } finally {
      await store.close();
    }
  },
};

const open = (folder: string) => openMqttState(deps, { path: join(folder, "mqtt.db") });
const topicOf = (session: number) => `state/${session}`;
const willOf = (session: number, version: number) => session * 100 + version;
/** What ends with this version, that an earlier one began. */
const before = (version: number, versions: number) =>
  version > versions ? [version - versions] : [];

function batchOf(session: number, version: number, filler: string): StateBatch {
  const message: SavedMessage = { topic: topicOf(session), qos: 2, retain: false, from: "p" };
  const payload = new TextEncoder().encode(`${version} ${filler}`);
  const flight = { session, messageId: version, isReleased: false, qos: 2, retain: false } as const;
  return {
    ...nothing,
    sessions: [
      {
        ...{ key: session, id: `c${session}`, owner: "app", expirySeconds: version },
        subscriptions: [],
      },
    ],
    queued: [{ ...flight, sequence: version, message, payload }],
    released: before(version, lasts.released).map((sequence) => ({ session, sequence })),
    settled: before(version, lasts.flight).map((sequence) => ({ session, sequence })),
    received: [{ session, messageId: version }],
    completed: before(version, lasts.received).map((messageId) => ({ session, messageId })),
    retained: [{ message, payload }],
    wills: [
      {
        ...{ key: willOf(session, version), id: `c${session}`, owner: "app", delaySeconds: 0 },
        ...{ message, payload },
      },
    ],
    willsEnded: before(version, lasts.will).map((each) => willOf(session, each)),
  };
}

const endOf = (session: number): StateBatch => ({
  ...nothing,
  ended: [session],
  unretained: [topicOf(session)],
  willsEnded: Array.from({ length: versionsMax }, (_, index) => willOf(session, index + 1)),
});

function judge(state: SavedState, acknowledged: readonly Applied[]): string[] {
  const appliedBySession = new Map<number, number>();
  for (const { session, version } of acknowledged) appliedBySession.set(session, version);
  const foundBySession = new Map(
    state.sessions.map(({ key, expirySeconds }) => [key, expirySeconds]),
  );
  const sessions = new Set([...appliedBySession.keys(), ...foundBySession.keys()]);
  return few(
    [...sessions].flatMap((session) => {
      const [applied, found] = [appliedBySession.get(session) ?? 0, foundBySession.get(session)];
      // One more may have been written down, and nobody heard of it: so may the end.
      const isEnd = found === undefined && (applied === 0 || applied === versionsMax);
      if (!isEnd && (found ?? 0) < applied)
        return [`session ${session} is at ${found}, applied was ${applied}`];
      if (applied === 0 && appliedBySession.has(session) && found !== undefined)
        return [`session ${session} ended, and is at ${found}`];
      const [has, should] = [shownOf(state, session), shownAt(found ?? 0)];
      return has === should ? [] : [`session ${session} at ${found} has ${has}, not ${should}`];
    }),
  );
}

const text = (payload: Uint8Array) => new TextDecoder().decode(payload).split(" ")[0];

/** What a store has of a session, in words. */
function shownOf({ flights, received, retained, wills }: SavedState, session: number): string {
  const own = <Of extends { readonly session: number }>(all: readonly Of[]) =>
    all.filter((one) => one.session === session);
  return JSON.stringify({
    flights: own(flights).map(({ sequence, isReleased, payload }) =>
      [sequence, isReleased ? "released" : "waits", text(payload)].join(" "),
    ),
    received: own(received)
      .map(({ messageId }) => messageId)
      .sort((a, b) => a - b),
    retained: retained
      .filter(({ message }) => message.topic === topicOf(session))
      .map(({ payload }) => text(payload)),
    wills: wills
      .map(({ key }) => key - session * 100)
      .filter((version) => version >= 1 && version <= versionsMax)
      .sort((a, b) => a - b),
  });
}

/** What it must have at this version; 0: after its end. */
function shownAt(version: number): string {
  const last = (versions: number) => {
    const count = Math.min(version, versions);
    return Array.from({ length: count }, (_, at) => version - count + 1 + at);
  };
  return JSON.stringify({
    flights: last(lasts.flight).map((sequence) =>
      [sequence, sequence <= version - lasts.released ? "released" : "waits", sequence].join(" "),
    ),
    received: last(lasts.received),
    retained: version === 0 ? [] : [String(version)],
    wills: last(lasts.will),
  });
}
