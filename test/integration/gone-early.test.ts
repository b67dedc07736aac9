/** Clients that go while they are still being admitted, before any route could have heard of it. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { promisify } from "node:util";
import {
  createGroupRoutes,
  createStrongDocumentRoutes,
  openStreamStore,
} from "../../src/data/index.ts";
import { createHttpApp, setCaller, type Routes } from "../../src/runtime/http/index.ts";
import { entry, telemetry, temporaryFolder } from "../support/data.ts";
import { hostDeps } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

/** Sends a request whose client has gone by the time its route runs. */
async function askAndGo(t: TestContext, routes: Routes, path: string, init: RequestInit) {
  const admitted = Promise.withResolvers<void>();
  let held = 0;
  const app = createHttpApp();
  app.addHook("preHandler", async (request) => {
    held++;
    setCaller(request, "app/a");
    await admitted.promise;
  });
  routes(app);
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => app.close());
  const control = new AbortController();
  const asked = assert.rejects(fetch(`${url}${path}`, { ...init, signal: control.signal }));
  await waitFor(() => held === 1, { what: "the request" });
  control.abort();
  await asked;
  const connections = promisify(app.server.getConnections.bind(app.server));
  await waitFor(async () => (await connections()) === 0, { what: "its client to be gone" });
  admitted.resolve();
}

test("C1: what comes is not kept for a member that went while it was being admitted", async (t) => {
  const folder = temporaryFolder();
  const store = openStreamStore(hostDeps, { path: join(folder.path, "s.db"), node: "n1" });
  t.after(async () => {
    await store.close();
    folder[Symbol.dispose]();
  });
  await store.setStreams([telemetry]);
  const id = { stream: "telemetry", group: "g" };
  await store.groups.create(id, { from: "oldest" });
  let takes = 0;
  const groups: typeof store.groups = {
    ...store.groups,
    async take(...of) {
      const taken = await store.groups.take(...of);
      takes++;
      return taken;
    },
  };
  const routes = createGroupRoutes({ groups, on: (...of) => store.on(...of) }, hostDeps);
  await askAndGo(t, routes, "/v1/streams/telemetry/groups/g/take", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ waitMs: 30_000, ackMs: 60_000 }),
  });
  await waitFor(() => takes > 0, { what: "the request to be served" });
  await store.append([entry(1)]);
  await waitFor(async () => (await store.groups.take(id, {}))?.entries.length === 1, {
    what: "the entry to be there for somebody else",
    timeoutMs: 5000,
  });
});

test("T4: nobody is told of changes who went while it was being admitted", async (t) => {
  const signals: AbortSignal[] = [];
  const strong = {
    names: ["accounts"],
    has: () => true,
    async *follow(_caller: unknown, _from: unknown, signal: AbortSignal) {
      signals.push(signal);
      yield [];
    },
  } as unknown as Parameters<typeof createStrongDocumentRoutes>[0]["strong"];
  const routes = createStrongDocumentRoutes({ ...hostDeps, strong, queries: {} as never });
  const query = { collection: "accounts", read: "changes", follow: true, page: {} } as never;
  const mounted: Routes = (app) =>
    app.get("/follow", (request, reply) => routes.list(request, reply, query));
  await askAndGo(t, mounted, "/follow", { headers: { authorization: "Bearer good-a" } });
  await waitFor(() => signals.length === 1, { what: "the request to be served" });
  await waitFor(() => signals[0]?.aborted, { what: "it to be let go", timeoutMs: 5000 });
});
