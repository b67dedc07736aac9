/** MQTT's state in `mqtt.db`, with group commit: durable at every answer. Lives in the storage thread. */
import {
  createGroupCommit,
  openDatabase,
  prepareLayout,
  type Database,
} from "../../runtime/sqlite/index.ts";
import type { MqttStateStore, SavedFlight, SavedState, StateBatch } from "./state.ts";

export type MqttStateFile = MqttStateStore & { close(): Promise<void> };

const steps = [
  `CREATE TABLE session (key INTEGER PRIMARY KEY, json TEXT NOT NULL) STRICT;
   CREATE TABLE flight (
     session INTEGER NOT NULL, sequence INTEGER NOT NULL, released INTEGER NOT NULL,
     json TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (session, sequence)) STRICT;
   CREATE TABLE received (
     session INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (session, id)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE retained (topic TEXT PRIMARY KEY, json TEXT NOT NULL, payload BLOB NOT NULL) STRICT`,
];

/** Throws `disk-full`, `store-damaged`, `store-newer` or `store-unavailable`. */
export function openMqttState({ path }: { readonly path: string }): MqttStateFile {
  const db = openDatabase(path);
  prepareLayout(db, { path, steps });
  const writer = createGroupCommit(db, { path });
  const write = prepareWrite(db);
  return {
    load: async () => read(db),
    apply: (batch) => writer.write(() => write(batch)),
    close: () => writer.close(),
  };
}

function prepareWrite(db: Database): (batch: StateBatch) => void {
  const putSession = db.prepare("INSERT OR REPLACE INTO session (key, json) VALUES (?, ?)");
  const putFlight = db.prepare(
    "INSERT OR REPLACE INTO flight (session, sequence, released, json, payload) VALUES (?, ?, ?, ?, ?)",
  );
  const release = db.prepare("UPDATE flight SET released = 1 WHERE session = ? AND sequence = ?");
  const settle = db.prepare("DELETE FROM flight WHERE session = ? AND sequence = ?");
  const receive = db.prepare("INSERT OR IGNORE INTO received (session, id) VALUES (?, ?)");
  const complete = db.prepare("DELETE FROM received WHERE session = ? AND id = ?");
  const retain = db.prepare(
    "INSERT OR REPLACE INTO retained (topic, json, payload) VALUES (?, ?, ?)",
  );
  const unretain = db.prepare("DELETE FROM retained WHERE topic = ?");
  const ends = ["session WHERE key", "flight WHERE session", "received WHERE session"].map((what) =>
    db.prepare(`DELETE FROM ${what} = ?`),
  );
  return (batch) => {
    for (const session of batch.sessions) putSession.run(session.key, JSON.stringify(session));
    for (const { payload, ...flight } of batch.queued) {
      const { session, sequence, isReleased } = flight;
      putFlight.run(session, sequence, Number(isReleased), JSON.stringify(flight), payload);
    }
    for (const { session, sequence } of batch.released) release.run(session, sequence);
    for (const { session, sequence } of batch.settled) settle.run(session, sequence);
    for (const { session, messageId } of batch.received) receive.run(session, messageId);
    for (const { session, messageId } of batch.completed) complete.run(session, messageId);
    for (const { message, payload } of batch.retained)
      retain.run(message.topic, JSON.stringify(message), payload);
    for (const topic of batch.unretained) unretain.run(topic);
    for (const key of batch.ended) for (const end of ends) end.run(key);
  };
}

function read(db: Database): SavedState {
  const all = <T>(sql: string) => db.prepare(sql).all() as unknown as T[];
  const sessions = all<{ json: string }>("SELECT json FROM session ORDER BY key");
  const flights = all<{ released: number; json: string; payload: Uint8Array }>(
    "SELECT released, json, payload FROM flight ORDER BY session, sequence",
  );
  const retained = all<{ json: string; payload: Uint8Array }>("SELECT json, payload FROM retained");
  return {
    sessions: sessions.map(({ json }) => JSON.parse(json)),
    flights: flights.map(({ released, json, payload }) => ({
      ...(JSON.parse(json) as Omit<SavedFlight, "payload">),
      isReleased: released === 1,
      payload,
    })),
    received: all("SELECT session, id AS messageId FROM received"),
    retained: retained.map(({ json, payload }) => ({ message: JSON.parse(json), payload })),
  };
}
