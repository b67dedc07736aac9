/** A document, or a batch of entries, of a gigabyte: refused with the limit, before memory or wire is spent on it. */
import { strict as assert } from "node:assert";
import { connect } from "node:net";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createClient, createDocuments, type DocumentClient } from "../../src/client/index.ts";
import { createDocumentRoutes, createDocumentWrites } from "../../src/data/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { listing, openDocuments } from "../support/documents.ts";
import { waitFor } from "../support/wait.ts";

type Body = Parameters<DocumentClient["put"]>[2];

const mebibyte = 1024 * 1024;
const gigabyte = 1024 * mebibyte;

async function start(t: TestContext) {
  const folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "documents.db"));
  const peers = { vectorsByNode: () => new Map(), on: () => () => undefined };
  const writes = createDocumentWrites({ store, peers, cellNodes: () => 1, clock: systemClock });
  const app = createHttpApp();
  createDocumentRoutes({ store, writes, clock: systemClock })(app);
  const url = await app.listen({ host: "127.0.0.1", port: 0 });
  t.after(async () => {
    await app.close();
    writes.stop();
    await store.close();
    folder[Symbol.dispose]();
  });
  return { store, url };
}

/** Sends pieces of 1 MiB until it is answered, or all are sent; how many went out, and the answer. */
async function send(url: string, headers: string, pieces: (index: number) => Buffer | undefined) {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  const seen = { answer: "", isOver: false };
  socket.on("data", (bytes) => (seen.answer += bytes.toString("latin1")));
  socket.on("error", () => (seen.isOver = true));
  socket.on("close", () => (seen.isOver = true));
  socket.write(`PUT /v1/documents/items/a HTTP/1.1\r\nhost: x\r\n${headers}\r\n\r\n`);
  let sent = 0;
  for (; !seen.isOver && seen.answer === "" && sent < 64; sent++) {
    const piece = pieces(sent);
    if (!piece) break;
    await new Promise<void>((done) => void socket.write(piece, () => done()));
  }
  await waitFor(() => seen.answer !== "" || seen.isOver, { what: "an answer, or the end" });
  socket.destroy();
  return { answer: seen.answer, sent };
}

test("D9: over HTTP a gigabyte is refused by its header, and one without a length when it has come to the limit", async (t) => {
  const { store, url } = await start(t);
  const json = "content-type: application/json\r\n";
  const announced = await send(url, `${json}content-length: ${gigabyte}`, () => undefined);
  assert.match(announced.answer, /^HTTP\/1\.1 413 [^]*"code":"body-too-large"/);
  assert.match(announced.answer, /1073741824 bytes[^]*at most 4194304 bytes/);

  const piece = Buffer.concat([
    Buffer.from("100000\r\n"),
    Buffer.alloc(mebibyte, "x"),
    Buffer.from("\r\n"),
  ]);
  // Each time: the end of the connection does not overtake the answer.
  for (let attempt = 0; attempt < 20; attempt++) {
    const { answer, sent } = await send(url, `${json}transfer-encoding: chunked`, () => piece);
    assert.ok(sent < 16, `${sent} MiB were taken before the answer`);
    assert.match(answer, /^HTTP\/1\.1 413 [^]*more than 4194304 bytes/);
  }
  assert.deepEqual(await listing(store), []);
});

test("D9: the client refuses a gigabyte before it is a text, whatever it is made of", async () => {
  let sent = 0;
  const answer = async () => {
    sent++;
    return new Response("{}");
  };
  const options = { url: "http://127.0.0.1:1", fetch: answer as typeof fetch };
  const [documents, streams] = [createDocuments(options), createClient(options)];
  // One text, of which JSON would have no room in a string, and the same one a thousand times.
  const text = "x".repeat(mebibyte);
  const huge = Buffer.alloc(500 * mebibyte, "x").toString("latin1");
  const many = Object.fromEntries(Array.from({ length: 1024 }, (_, n) => [`f${n}`, text]));
  const before = process.memoryUsage().rss;
  const tooLarge = { code: "body-too-large", message: /more than 4194304 bytes/ };
  for (const body of [
    { huge, too: huge, three: huge },
    many,
    { deep: { list: [many] } },
  ] as Body[]) {
    await assert.rejects(documents.put("items", "a", body), tooLarge);
    await assert.rejects(documents.merge("items", "a", body), tooLarge);
    await assert.rejects(documents.batch("items", [{ id: "a", put: body }]), tooLarge);
    await assert.rejects(streams.append("telemetry", [body]), tooLarge);
  }
  await assert.rejects(streams.appendLines("telemetry", Array<string>(1024).fill(text)), tooLarge);
  const grownMib = (process.memoryUsage().rss - before) / mebibyte;
  assert.ok(grownMib < 100, `${grownMib} MiB of memory for what was refused`);
  assert.equal(sent, 0);

  await documents.put("items", "a", { text: text + text + text });
  assert.equal(sent, 1, "what may fit is for the node to judge");
  const round: Record<string, unknown> = {};
  round["round"] = round;
  await assert.rejects(documents.put("items", "a", round as Body), /circular/);
});
