/** The hub's state for Prometheus, at each scrape what its status says; and whether it lives and can take entries. */
import type { FleetStatus } from "../../api/index.ts";
import type { GlobalCollectionStatus } from "../../data/index.ts";
import { whenAborted } from "../../lib/abort.ts";
import { deadline, type Clock } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { HttpApp } from "../../runtime/http/index.ts";
import { createMetrics } from "../../runtime/metrics/index.ts";

const states = ["connected", "silent", "never"] as const;

/** Paths that answer without a certificate: they tell nothing but that the hub is there. */
export const openPaths: ReadonlySet<string> = new Set(["/livez", "/readyz", "/healthz"]);

/** Whoever asks has a deadline of its own, and a store that hangs is no better than one that is away. */
const readyWithinMs = 1000;
const silent = () =>
  new SkerryError({
    code: "not-ready",
    message: `the hub's store did not answer within ${readyWithinMs} ms`,
    hint: "cells keep what the hub does not acknowledge; look at the database's host",
    retryable: true,
  });

/**
 * `status` rejects when the store does not answer: then `/readyz` is 503 and so is the scrape, while
 * `/livez` stays 200, so that an orchestrator does not restart a hub for a slow disk.
 */
export function mountMetrics(
  app: HttpApp,
  deps: {
    name: string;
    version: string;
    clock: Clock;
    status: () => Promise<FleetStatus>;
    collections: () => Promise<readonly GlobalCollectionStatus[]>;
  },
): void {
  const metrics = createMetrics({ hub: deps.name });
  metrics
    .gauge("skerry_build_info", "Always 1; the version that runs.", ["version", "role"])
    .set({ version: deps.version, role: "hub" }, 1);
  const store = metrics.gauge(
    "skerry_hub_store_info",
    "Always 1; where the hub keeps the streams of cells, seen to answer at this scrape.",
    ["engine"],
  );
  const signs = metrics.gauge(
    "skerry_hub_authority_signs",
    "1 while the key of the hub's authority signs, 0 while no cell can enrol or renew.",
  );
  const cells = metrics.gauge("skerry_hub_cells", "Enrolled cells by state.", ["state"]);
  const connected = metrics.gauge(
    "skerry_hub_cell_nodes_connected",
    "Nodes of a cell that hold a link to this hub.",
    ["cell"],
  );
  const contact = metrics.gauge(
    "skerry_hub_cell_contact_age_seconds",
    "Time since anything was heard of a cell.",
    ["cell"],
  );
  const backlog = metrics.gauge(
    "skerry_hub_cell_backlog_entries",
    "Entries that a cell's nodes said still wait for this hub.",
    ["cell"],
  );
  const entries = metrics.gauge("skerry_hub_stream_entries", "Entries of a cell's stream here.", [
    "cell",
    "stream",
  ]);
  const documents = metrics.gauge(
    "skerry_hub_collection_documents",
    "Documents of a cell's collection here.",
    ["cell", "collection"],
  );
  const waiting = metrics.gauge(
    "skerry_hub_collection_waiting_operations",
    "Operations of a cell's collection that wait here for others that they knew of.",
    ["cell", "collection"],
  );
  metrics.beforeRender(async () => {
    const [status, collections] = await Promise.all([deps.status(), deps.collections()]);
    if (status.store) store.set({ engine: status.store.engine }, 1);
    signs.set({}, status.keyFailure ? 0 : 1);
    for (const gauge of [connected, contact, backlog, entries, documents, waiting]) gauge.reset();
    for (const { cell = "", name: collection, ...held } of collections) {
      documents.set({ cell, collection }, held.documents);
      waiting.set({ cell, collection }, held.waiting);
    }
    for (const state of states)
      cells.set({ state }, status.cells.filter((cell) => cell.state === state).length);
    for (const { cell, nodesConnected, lastContactMs, ...told } of status.cells) {
      connected.set({ cell }, nodesConnected.length);
      if (lastContactMs !== undefined) contact.set({ cell }, lastContactMs / 1000);
      backlog.set({ cell }, told.backlog.entries);
      for (const stream of told.streams) entries.set({ cell, stream: stream.name }, stream.entries);
    }
  });
  app.get("/metrics", async (_request, reply) => {
    void reply.type(metrics.contentType);
    return metrics.render();
  });
  app.get("/livez", async () => "ok");
  app.get("/healthz", async () => "ok");
  app.get("/readyz", async () => {
    const limit = deadline(deps.clock, readyWithinMs, { reason: silent });
    const silence = whenAborted(limit.signal).then(() => Promise.reject(limit.signal.reason));
    try {
      await Promise.race([deps.status(), silence]);
    } finally {
      limit.done();
    }
    return "ok";
  });
}
