/** A node that knows the hub by what the cell tells all nodes, and has no link to it: it asks the others. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  noFaults,
  peerOf,
  virtualLink,
  virtualRouter,
} from "../../src/drill/simulated/convergence/links.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { mirroring, startDocumentsNode } from "../support/documents-node.ts";
import { waitFor } from "../support/wait.ts";

const trustDomain = "cell-a.skerry";
const timeoutMs = 15_000;
const items = {
  metadata: { name: "items", resourceVersion: "5" },
  spec: { egress: { drop: [] } },
};

for (const [cell, hub] of [
  ["a cell with a hub", "hub.example:9443"],
  ["a cell without one", undefined],
] as const)
  test(`D6: in ${cell} a node that joined ${hub ? "asks another what the hub has of its documents" : "asks nobody"}`, async (t) => {
    const folder = temporaryFolder();
    const node = await startDocumentsNode({
      folder: folder.path,
      name: "n2",
      trustDomain,
      mirrored: mirroring(["n1", "n2"], () => [items], hub),
    });
    const asked: string[] = [];
    const router = virtualRouter();
    let compared = 0;
    router.handle("documents.vector", async () => {
      compared++;
      return Buffer.from("{}");
    });
    router.handle("documents.hub", async ({ peer }) => {
      asked.push(peer.path.join("/"));
      return new Uint8Array();
    });
    const link = virtualLink(
      { clock: systemClock, random: systemRandom, faults: () => noFaults },
      {
        left: { peer: peerOf(trustDomain, "node", "n1"), router },
        right: { peer: peerOf(trustDomain, "node", "n2"), router: node.router },
      },
    );
    t.after(async () => {
      link.cut();
      await node.lifecycle.stop();
      folder[Symbol.dispose]();
    });
    await waitFor(async () => (await node.client.put("items", "a", { n: 1 })).changed >= 0, {
      what: "the collection to be declared",
      timeoutMs,
    });
    node.path.attachPeer(link.right);
    if (hub === undefined) {
      // As many rounds of one second as the other case needs, and more.
      await waitFor(() => compared >= 4, { what: "rounds of comparing", timeoutMs });
      assert.deepEqual(asked, []);
    } else {
      await waitFor(() => asked.length > 0, { what: "the question to the other node", timeoutMs });
      assert.equal(asked[0], "node/n2");
    }
  });
