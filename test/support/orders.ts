/** A small collection and a small stream that the examples of docs/queries.md are about. */
import { openStreamStore, type DocumentStore, type StreamStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { items, notes, put, write } from "./documents.ts";

export const orders = [
  {
    id: "o1",
    body: {
      status: "open",
      total: 120,
      customer: { city: "Oslo" },
      due: "2026-02-01",
      tags: ["gift"],
    },
  },
  {
    id: "o2",
    body: { status: "open", total: 25, customer: { city: "Oslo" }, due: "2026-01-15", tags: [] },
  },
  {
    id: "o3",
    body: { status: "open", total: 250, customer: { city: "Bergen" }, due: "2026-01-20" },
  },
  {
    id: "o4",
    body: {
      status: "paid",
      total: 80.5,
      customer: { city: "Bergen, north" },
      tags: ["gift", "fragile"],
    },
  },
] as const;

export async function declareOrders(store: DocumentStore): Promise<void> {
  await store.declare([
    items,
    notes,
    { ...items, name: "orders", fields: [], indexes: ["/status", "/total", "/tags"] },
  ]);
  await write(store, ...orders.map(({ id, body }) => put(id, body, "orders")));
}

/** In the order of their arrival, which is not that of their times. */
const readings = [
  ["08:05", { sensor: "s1", celsius: 21 }],
  ["08:01", { sensor: "s1", celsius: 19 }],
  ["08:12", { sensor: "s1", celsius: 24 }],
  ["08:19", { sensor: "s2", celsius: 18 }],
] as const;

export async function openReadings(path: string): Promise<StreamStore> {
  const store = openStreamStore(
    { clock: systemClock, random: systemRandom, log: silentLog },
    { path, node: "n1" },
  );
  await store.setStreams(["readings", "notes"].map((name) => ({ name, retention: {} })));
  const answer = await store.append(
    readings.map(([time, body]) => ({
      stream: "readings",
      atMs: Date.parse(`2026-01-01T${time}:00Z`),
      body: Buffer.from(JSON.stringify(body)),
    })),
  );
  if (answer.state !== "stored") throw new Error(JSON.stringify(answer));
  return store;
}
