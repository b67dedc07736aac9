/** A text remembers where it was edited, up to a bound. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { encodeOperations } from "../../src/data/documents/codec.ts";
import type { DocumentWrite } from "../../src/data/index.ts";
import { yjs } from "../../src/runtime/yjs/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { listing, openDocuments, put, replicate, write } from "../support/documents.ts";

const edit = (id: string): DocumentWrite => ({
  collection: "items",
  id,
  do: "change",
  changes: [{ change: "edit", path: "/notes", delta: [{ insert: "more" }] }],
});

/** Each character put before all others, so that each is remembered by itself. */
function logOf(characters: number): Uint8Array {
  const doc = new (yjs().Doc)();
  doc.clientID = 7;
  const text = doc.getText("text");
  doc.transact(() => {
    for (let n = 0; n < characters; n++) text.insert(0, "x");
  });
  const update = Buffer.from(yjs().encodeStateAsUpdate(doc)).toString("base64");
  const changes = [{ type: "text", path: "/notes", update }];
  const writes = [{ collection: "items", id: "d", verb: "edit", changes }];
  return encodeOperations({
    origin: "n9.a",
    from: 1,
    texts: [JSON.stringify({ hlc: 1, seen: {}, writes })],
  });
}

test("D9, M22: a text that remembers more than 1 MiB of edits is edited no more; merges and other writes go on", async () => {
  using folder = temporaryFolder();
  const [a, b] = [
    await openDocuments(join(folder.path, "a.db"), "n1"),
    await openDocuments(join(folder.path, "b.db"), "n2"),
  ];
  await b.apply(logOf(50_000));
  await write(b, edit("d"));
  await b.close();

  await a.apply(logOf(200_000));
  const before = await listing(a);
  const answer = await a.write([edit("d")]);
  assert.equal(answer.state === "refused" && answer.code, "document-too-large");
  assert.match(
    answer.state === "refused" ? answer.message : "",
    /^writes\[0\] \(items\/d\): its texts would remember \d{7} bytes of edits$/,
  );
  assert.deepEqual(await listing(a), before);
  // Other fields, a text of another document, and what another node that did not know of it wrote.
  await write(a, { collection: "items", id: "d", do: "merge", patch: { name: "x" } });
  await write(a, edit("e"));
  const c = await openDocuments(join(folder.path, "c.db"), "n3");
  await write(c, edit("d"));
  await replicate(c, a);
  assert.match((await listing(a)).join(), /"notes":"(more)?x+(more)?"/);
  // It can be taken away.
  await write(a, put("d", { name: "x" }));
  await Promise.all([a.close(), c.close()]);
});
