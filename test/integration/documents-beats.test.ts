/** Signs of life between who follows documents and who tells of them. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createDocuments } from "../../src/client/index.ts";
import { createStrongDocumentRoutes } from "../../src/data/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { createHttpApp, setCaller } from "../../src/runtime/http/index.ts";
import { waitFor } from "../support/wait.ts";

test("changes of a connection that says nothing for 45 s are asked for again from where they were; one with beats, or whose reader is busy, is kept", async () => {
  const clock = createSimulatedClock();
  const opened: ReadableStreamDefaultController<Uint8Array>[] = [];
  const asked: (string | null)[] = [];
  const fetched: typeof fetch = async (input, init) => {
    asked.push(new URL(String(input)).searchParams.get("since"));
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        opened.push(controller);
        init?.signal?.addEventListener("abort", () => controller.error(init.signal?.reason));
      },
    });
    return new Response(body);
  };
  const documents = createDocuments({ url: "http://n1", fetch: fetched, clock });
  const busy = Promise.withResolvers<void>();
  const control = new AbortController();
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { id } of documents.changes("notes", { signal: control.signal })) {
      seen.push(id);
      if (id === "one") await busy.promise;
    }
  })();
  const send = async (text: string) => {
    opened.at(-1)?.enqueue(Buffer.from(text));
    await clock.advance(0);
  };
  const deleted = (id: string, cursor: string) =>
    send(`id: ${cursor}\nevent: delete\ndata: {"id":"${id}"}\n\n`);
  await waitFor(() => opened.length === 1, { what: "the connection" });
  for (let beat = 0; beat < 10; beat++) {
    await clock.advance(15_000);
    await send(":\n\n");
  }
  await deleted("one", "a.1");
  await waitFor(() => seen.length === 1, { what: "the change" });
  await clock.advance(3_600_000);
  await deleted("two", "a.2");
  busy.resolve();
  await waitFor(() => seen.length === 2, { what: "the next" });
  await clock.advance(44_999);
  assert.equal(opened.length, 1);
  await clock.advance(1);
  // The pause before it is asked again.
  await clock.advance(1000);
  await waitFor(() => opened.length === 2, { what: "the next connection" });
  assert.deepEqual(asked, ["", "a.2"]);
  control.abort();
  await reading;
  assert.equal(clock.pending, 0);
});

test("T4: who follows a quiet strong collection hears that it is there, though its ledger tells of other things", async (t) => {
  const clock = createSimulatedClock();
  let goOn = Promise.withResolvers<void>();
  let told = 0;
  const strong = {
    names: ["accounts"],
    has: () => true,
    async *follow() {
      for (;;) {
        const next = goOn.promise;
        told++;
        yield [];
        await next;
      }
    },
  } as unknown as Parameters<typeof createStrongDocumentRoutes>[0]["strong"];
  const routes = createStrongDocumentRoutes({ strong, queries: {} as never, clock });
  const app = createHttpApp();
  app.addHook("onRequest", async (request) => setCaller(request, "app/a"));
  app.get("/follow", (request, reply) =>
    routes.list(request, reply, {
      collection: "accounts",
      read: "changes",
      follow: true,
      page: {},
    } as never),
  );
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  t.after(() => app.close());
  const { body } = await fetch(`${url}/follow`, { headers: { authorization: "Bearer good-a" } });
  let beats = 0;
  const reading = (async () => {
    for await (const chunk of body ?? [])
      beats += Buffer.from(chunk)
        .toString()
        .split("\n")
        .filter((line) => line === ":").length;
  })();
  reading.catch(() => undefined);
  await waitFor(() => clock.pending === 1, { what: "it to be followed" });
  for (const nth of [2, 3, 4]) {
    // Sooner than the silence that is broken anyway.
    await clock.advance(10_000);
    const { resolve } = goOn;
    goOn = Promise.withResolvers();
    resolve();
    await waitFor(() => told === nth && beats >= nth, { what: "a sign of life", timeoutMs: 5000 });
  }
  // And where the ledger itself says nothing.
  await waitFor(() => clock.pending === 1, { what: "it to wait" });
  const heard = beats;
  await clock.advance(15_000);
  await waitFor(() => beats > heard, { what: "a sign of life", timeoutMs: 5000 });
});
