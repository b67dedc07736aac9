/** Tokens of programs that outlive them: a pod's file is replaced while it runs. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createClient, createCoordination, createDocuments } from "../../src/client/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { waitFor } from "../support/wait.ts";

/** What each request was sent with. */
function site(answer: () => Response) {
  const sent: (string | null)[] = [];
  const fetched: typeof fetch = async (_input, init) => {
    sent.push(new Headers(init?.headers).get("authorization"));
    return answer();
  };
  return { sent, options: { url: "http://n1", fetch: fetched } };
}

/** As a file that is written anew after each reading. */
function file() {
  let read = 0;
  return () => `token-${++read}\n`;
}

test("a token that is read is read for each request, one that is given stays", async () => {
  const { sent, options } = site(() => Response.json({ documents: [], reached: "local" }));
  const sync = createDocuments({ ...options, token: file() });
  await sync.get("notes", "one");
  await sync.put("notes", "one", {});
  const read = file();
  const later = createClient({ ...options, token: async () => read() });
  await later.append("scales", [{ grams: 1 }]);
  await later.append("scales", [{ grams: 2 }]);
  const given = createClient({ ...options, token: "secret\n" });
  await given.append("scales", [{ grams: 3 }]);
  await given.append("scales", [{ grams: 4 }]);
  await createClient(options).append("scales", [{ grams: 5 }]);
  assert.deepEqual(sent, [
    ...["Bearer token-1", "Bearer token-2"],
    ...["Bearer token-1", "Bearer token-2"],
    ...["Bearer secret", "Bearer secret"],
    null,
  ]);
});

test("who follows, and what is sent again, comes back with the token of then", async () => {
  const clock = createSimulatedClock();
  const control = new AbortController();
  const ended = site(() => new Response(""));
  const tail = createClient({ ...ended.options, token: file(), clock }).tail("scales", {
    signal: control.signal,
  });
  const following = (async () => {
    for await (const _ of tail) assert.fail("there is nothing");
  })();
  await waitFor(async () => (await clock.advance(1000), ended.sent.length >= 3), { what: "three" });
  control.abort();
  await following;
  assert.deepEqual(ended.sent.slice(0, 3), ["Bearer token-1", "Bearer token-2", "Bearer token-3"]);

  const busy = { error: { code: "rate-limited", message: "wait", retryable: true } };
  const turnedAway = site(() => Response.json(busy, { status: 429 }));
  const streams = createClient({ ...turnedAway.options, token: file(), clock });
  const refused = assert.rejects(streams.append("scales", [{}]), { code: "rate-limited" });
  await clock.advance(60_000);
  await refused;
  assert.ok(turnedAway.sent.length > 2);
  assert.equal(new Set(turnedAway.sent).size, turnedAway.sent.length);
});

test("a token that cannot be read is said, nothing is sent, and no loop goes on without it", async () => {
  const { sent, options } = site(() => new Response(""));
  const token = async () => {
    throw new Error("ENOENT: no such file");
  };
  const said = { code: "unauthenticated", message: /ENOENT/, retryable: false };
  const documents = createDocuments({ ...options, token });
  await assert.rejects(documents.put("notes", "one", {}, { key: "k" }), said);
  await assert.rejects(async () => {
    for await (const _ of documents.changes("notes")) assert.fail("there is nothing");
  }, said);
  await assert.rejects(async () => {
    for await (const _ of createClient({ ...options, token }).tail("s")) assert.fail("nothing");
  }, said);
  // Known to have changed nothing.
  const { fetch: fetched, url: gateway } = options;
  await assert.rejects(createCoordination({ gateway, fetch: fetched, token }).put("a", "1"), said);
  assert.deepEqual(sent, []);
});
