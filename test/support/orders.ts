/** A small collection that the examples of docs/queries.md are about. */
import type { DocumentStore } from "../../src/data/index.ts";
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
