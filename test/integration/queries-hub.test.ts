/** Queries over what cells sent, at a hub, over HTTP: the storage thread, the queries' own thread, the routes. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { connectGlobalStore } from "../../src/data/index.ts";
import { batch } from "../contract/data-global.ts";
import { temporaryFolder } from "../support/data.ts";
import { startHubOfDocuments } from "../support/hub-of-documents.ts";

type Shown = Readonly<Record<string, unknown>>;

test("Q1, P6: a hub answers windows over a stream of all its cells, and of one, and names what is wrong", async () => {
  using folder = temporaryFolder();
  const router = { handle: () => {} };
  const { lifecycle, thread, url } = await startHubOfDocuments(join(folder.path, "hub"), router);
  try {
    const store = connectGlobalStore(thread);
    await store.ingest("north", batch("n1.x", 1, 130));
    await store.ingest("south", batch("n1.y", 1, 50));
    const ask = async (stream: string, body: unknown) => {
      const answer = await fetch(`${url}/v1/streams/${stream}/query`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      const shown = (await answer.json()) as { rows?: Shown[]; error?: { code: string } };
      return { status: answer.status, ...shown };
    };
    const request = {
      window: "1m",
      by: ["/@cell"],
      aggregate: ["count", "last(n)"],
      to: "1970-01-01T00:01:00Z",
    };
    const group = (cell: string) => ({
      group: { window: "1970-01-01T00:00:00.000Z", "/@cell": cell },
      values: { count: cell === "north" ? 59 : 50, "last(n)": cell === "north" ? 59 : 50 },
    });
    assert.deepEqual(await ask("telemetry", request), {
      status: 200,
      rows: [group("north"), group("south")],
    });
    assert.deepEqual(await ask("telemetry", { ...request, cell: "south" }), {
      status: 200,
      rows: [group("south")],
    });
    const { rows } = await ask("telemetry", { where: "n = 7", cell: "north" });
    assert.deepEqual(
      rows?.map(({ cell, body }) => [cell, body]),
      [["north", { n: 7 }]],
    );
    for (const [stream, body, status, code] of [
      ["nothing", {}, 404, "stream-unknown"],
      ["telemetry", { cell: 7 }, 400, "invalid-query"],
      ["telemetry", { sort: ["n"] }, 400, "invalid-query"],
    ] as const) {
      const answer = await ask(stream, body);
      assert.deepEqual([answer.status, answer.error?.code], [status, code]);
    }
  } finally {
    await lifecycle.stop();
  }
});
