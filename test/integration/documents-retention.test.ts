/** Retention as docs/data.md has it, on two nodes with their storage threads. */
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { checkObject, collectionKind } from "../../src/api/index.ts";
import { noFaults, peerOf, virtualLink } from "../../src/drill/simulated/convergence/links.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { mirroring, startDocumentsNode } from "../support/documents-node.ts";
import { waitFor } from "../support/wait.ts";

const trustDomain = "cell-a.skerry";
const docs = readFileSync(resolve(import.meta.dirname, "../../docs/data.md"), "utf8");
const [, section = ""] = /^## How long documents stay\n(.*?)^## /ms.exec(docs) ?? [];
const [, manifest = ""] = /<<'EOF'\n(.*?)^EOF/ms.exec(section) ?? [];

test("M19: what nobody changes goes from both nodes, deleted by one of them and counted; what is changed stays", async (t) => {
  const folder = temporaryFolder();
  const taught = checkObject(collectionKind, parse(manifest));
  assert.ok(taught.ok);
  assert.equal(taught.object.spec?.retention?.maxAge, "90d");
  const name = taught.object.metadata.name;
  const spec = { ...taught.object.spec, retention: { maxAge: "6s" } };
  // Nodes look one after the other, 3 s apart: so far apart are these two that a machine that stands
  // still does not make both delete the same.
  const nodes = Array.from({ length: 9 }, (_, index) => `n${index + 1}`);
  const mirrored = mirroring(nodes, () => [{ metadata: { name }, spec }]);
  const start = (node: string) =>
    startDocumentsNode({ folder: folder.path, name: node, trustDomain, mirrored });
  const [first, second] = await Promise.all([start("n1"), start("n9")]);
  t.after(async () => {
    for (const { lifecycle } of [first, second]) await lifecycle.stop();
    folder[Symbol.dispose]();
  });
  const end = ({ name: node, router }: typeof first) => ({
    peer: peerOf(trustDomain, "node", node),
    router,
  });
  const link = virtualLink(
    { clock: systemClock, random: systemRandom, faults: () => noFaults },
    { left: end(first), right: end(second) },
  );
  first.path.attachPeer(link.left);
  second.path.attachPeer(link.right);
  const what = "the collection to be declared";
  await waitFor(async () => await first.client.put(name, "v1", { at: "door" }), { what });
  await waitFor(async () => await second.client.put(name, "v2", { at: "gate" }), { what });
  let round = 0;
  await waitFor(
    async () => {
      await second.client.put(name, "kept", { round: ++round });
      const there = await Promise.all(
        [first, second].flatMap(({ client }) => ["v1", "v2"].map((id) => client.get(name, id))),
      );
      return there.every((document) => document === undefined);
    },
    { what: "both to be gone from both nodes", timeoutMs: 60_000 },
  );
  for (const { client } of [first, second])
    assert.ok(await client.get(name, "kept"), "what is changed");
  const counts = await Promise.all(
    [first, second].map(async ({ metrics }) => {
      const line = /^skerry_documents_expired_total\{collection="visits"\} (\d+)$/m;
      return Number(line.exec(await metrics())?.[1] ?? 0);
    }),
  );
  assert.equal(counts[0]! + counts[1]!, 2, `counted ${counts.join(" and ")}`);
});
