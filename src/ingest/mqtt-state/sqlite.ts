/** MQTT's state in `mqtt.db`, with group commit: durable at every answer. Lives in the storage thread. */
import { SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import {
  createGroupCommit,
  openDatabase,
  prepareLayout,
  setAside,
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
  "CREATE TABLE will (key INTEGER PRIMARY KEY, json TEXT NOT NULL, payload BLOB NOT NULL) STRICT",
];

/**
 * A damaged file is set aside as `PATH.damaged`, and an empty one begun: clients connect and subscribe
 * anew, as they do on another node; a node that does not start would serve none of them. Throws
 * `disk-full`, `store-newer` or `store-unavailable`.
 */
export function openMqttState(
  deps: { readonly log: Log },
  { path }: { readonly path: string },
): MqttStateFile {
  let db: Database;
  try {
    db = open(path);
  } catch (error) {
    if (!(error instanceof SkerryError) || error.code !== "store-damaged") throw error;
    setAside(path, aside);
    deps.log.error("MQTT sessions and retained messages are lost: their file was damaged", {
      path,
      kept: `${path}${aside}`,
      error,
    });
    db = open(path);
  }
  const writer = createGroupCommit(db, { path });
  const write = prepareWrite(db);
  return {
    load: async () => read(db),
    apply: (batch) => writer.write(() => write(batch)),
    close: () => writer.close(),
  };
}

const aside = ".damaged";

function open(path: string): Database {
  // All of it, whatever its size: it is bounded, and read as a whole at every start.
  const db = openDatabase(path, { check: true });
  try {
    prepareLayout(db, { path, steps });
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
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
  const putWill = db.prepare("INSERT OR REPLACE INTO will (key, json, payload) VALUES (?, ?, ?)");
  const endWill = db.prepare("DELETE FROM will WHERE key = ?");
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
    for (const { payload, ...will } of batch.wills)
      putWill.run(will.key, JSON.stringify(will), payload);
    for (const key of batch.willsEnded) endWill.run(key);
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
  const wills = all<{ json: string; payload: Uint8Array }>("SELECT json, payload FROM will");
  return {
    sessions: sessions.map(({ json }) => JSON.parse(json)),
    flights: flights.map(({ released, json, payload }) => ({
      ...(JSON.parse(json) as Omit<SavedFlight, "payload">),
      isReleased: released === 1,
      payload,
    })),
    received: all("SELECT session, id AS messageId FROM received"),
    retained: retained.map(({ json, payload }) => ({ message: JSON.parse(json), payload })),
    wills: wills.map(({ json, payload }) => ({ ...JSON.parse(json), payload })),
  };
}
