/** What a program is told of an answer that is no success, whoever gave it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createClient, createDocuments } from "../../src/client/index.ts";
import type { SkerryError } from "../../src/lib/errors.ts";

const answering =
  (status: number, text: string): typeof fetch =>
  async () =>
    new Response(text, { status });

async function told(status: number, text: string) {
  const documents = createDocuments({ url: "http://n1", fetch: answering(status, text) });
  const error = await documents.get("notes", "one").then(
    () => assert.fail("an answer was taken for good"),
    (thrown: SkerryError) => thrown,
  );
  const { code, message, hint, retryable, details } = error;
  return { code, message, retryable, ...(hint ? { hint } : {}), ...(details ? { details } : {}) };
}

test("Skerry's own words are told as they are", async () => {
  const error = {
    code: "store-busy",
    message: "too much waits for the disk",
    hint: "try again",
    retryable: true,
    details: { waiting: 3 },
  };
  assert.deepEqual(await told(503, JSON.stringify({ error })), error);
  const final = { code: "invalid-query", message: "limit: 0", retryable: false };
  assert.deepEqual(await told(503, JSON.stringify({ error: final })), final);
});

test("a stranger's words are told with the status, and whether to try again goes by it", async () => {
  const html = `<html>\n<h1>502 Bad Gateway</h1>${"x".repeat(300)}</html>\n`;
  const cases: [number, string, string, boolean][] = [
    [502, '{"error":"bad gateway"}', "status 502: bad gateway", true],
    [503, '{"error":{"message":"no upstream"}}', "status 503: no upstream", true],
    [503, '{"error":{"message":"gone","retryable":false}}', "status 503: gone", false],
    [504, '{"error":{"code":504}}', 'status 504: {"error":{"code":504}}', true],
    [404, '{"message":"no such route"}', "status 404: no such route", false],
    [403, '{"error":null}', 'status 403: {"error":null}', false],
    [429, "slow down", "status 429: slow down", true],
    [408, "", "status 408: ", true],
    [500, "null", "status 500: null", true],
    [502, html, `status 502: ${html.slice(0, 200)}`, true],
  ];
  for (const [status, text, message, retryable] of cases)
    assert.deepEqual(await told(status, text), { code: "refused", message, retryable }, text);
});

test("a refusal that breaks off is told by its status", async () => {
  const broken: typeof fetch = async () =>
    new Response(new ReadableStream({ start: (body) => body.error(new TypeError("terminated")) }), {
      status: 503,
    });
  await assert.rejects(createDocuments({ url: "http://n1", fetch: broken }).get("notes", "one"), {
    code: "refused",
    message: "status 503: ",
    retryable: true,
  });
});

test("an answer that breaks off in the middle may be asked for again, and says so", async () => {
  const broken: typeof fetch = async () =>
    new Response(
      new ReadableStream({
        start(body) {
          body.enqueue(Buffer.from('{"body":{}}\n{"documents":['));
          body.error(new TypeError("terminated"));
        },
      }),
    );
  const options = { url: "http://n1", fetch: broken };
  const all = async (rows: AsyncIterable<unknown>) => {
    for await (const _ of rows);
  };
  for (const read of [
    createDocuments(options).get("notes", "one"),
    all(createDocuments(options).list("notes")),
    all(createDocuments(options).query("notes")),
    createDocuments(options).groups("notes", {}),
    all(createClient(options).query("scales")),
    all(createClient(options).select("scales")),
  ])
    await assert.rejects(read, { code: "not-answering", retryable: true });
});

test("a proxy that cannot reach the node for a moment ends no loop", async () => {
  let asked = 0;
  const control = new AbortController();
  const fetched: typeof fetch = async () => {
    if (++asked === 1) return new Response('{"error":"bad gateway"}', { status: 502 });
    return new Response('id: a.1\nevent: delete\ndata: {"id":"one"}\n\n');
  };
  const { signal } = control;
  for await (const { id } of createDocuments({ url: "http://n1", fetch: fetched }).changes(
    "notes",
    {
      signal,
    },
  )) {
    assert.equal(id, "one");
    control.abort();
  }
  assert.equal(asked, 2);
});
