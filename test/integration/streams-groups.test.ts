/** Consumer groups by the client over HTTP; the node is killed while members work. */
import { strict as assert } from "node:assert";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createClient } from "../../src/client/index.ts";
import { range, temporaryFolder } from "../support/data.ts";
import { waitFor } from "../support/wait.ts";

const entryPath = join(import.meta.dirname, "../support/streams-gateway.entry.ts");

async function startNode(path: string, port: number): Promise<{ node: ChildProcess; url: string }> {
  const node = spawn(process.execPath, [entryPath, path, String(port)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  node.stdout?.setEncoding("utf8");
  const [url] = (await once(node.stdout ?? node, "data")) as [string];
  return { node, url: url.trim() };
}

async function post(url: string, body: object): Promise<void> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.equal(answer.status, 200);
}

async function kill(node: ChildProcess): Promise<void> {
  const gone = once(node, "exit");
  node.kill("SIGKILL");
  await gone;
}

test("C1, C3: members go on when the node is killed: every entry is worked on, its result stands once", async () => {
  using folder = temporaryFolder();
  const path = join(folder.path, "s.db");
  let { node, url } = await startNode(path, 0);
  const { port } = new URL(url);
  const fill = (first: number, count: number) => post(`${url}/fill`, { first, count });
  const client = createClient({ url });
  const control = new AbortController();
  const seen = new Set<number>();
  let acknowledged = 0;
  const work = async (member: string) => {
    const group = client.group("telemetry", "workers", { member });
    for await (const batch of group.batches({ limit: 7, ackMs: 1000, signal: control.signal })) {
      for (const { body } of batch.entries) seen.add(Number(body["n"]));
      // Now and then one is forgotten, as by a member that died with it.
      if (batch.attempt === 1 && batch.entries.some(({ body }) => Number(body["n"]) % 50 === 0))
        continue;
      const results = batch.entries.map(({ body }) => ({
        stream: "diary",
        body: { of: body["n"] },
      }));
      try {
        if ((await batch.ack(results)) === "acknowledged") acknowledged++;
      } catch (error) {
        // After the restart batches may be cut otherwise: what overlaps comes again. And on a slow
        // machine the node may be away for longer than an acknowledgement is tried.
        const { code } = error as { code?: string };
        assert.ok(code === "delivery-overtaken" || code === "not-answering", code);
      }
    }
  };
  try {
    await fill(1, 150);
    const members = ["m1", "m2", "m3"].map(work);
    await waitFor(() => acknowledged >= 6, { timeoutMs: 60_000, what: "some batches" });
    await kill(node);
    ({ node, url } = await startNode(path, Number(port)));
    await fill(151, 150);
    const group = client.group("telemetry", "workers");
    await waitFor(async () => (await group.status()).lag === 0, {
      timeoutMs: 60_000,
      what: "the group to be through",
    });
    control.abort();
    await Promise.all(members);
    assert.deepEqual(
      [...seen].sort((a, b) => a - b),
      range(1, 300),
    );
    const results: number[] = [];
    for await (const { body } of client.query("diary", { limit: 10_000 }))
      results.push(Number(body["of"]));
    assert.deepEqual(
      results.sort((a, b) => a - b),
      range(1, 300),
    );
  } finally {
    control.abort();
    await kill(node);
  }
});

test("C2, C5: groups over HTTP: made, listed, waited for, moved, deleted; refusals name the field", async () => {
  using folder = temporaryFolder();
  const { node, url } = await startNode(join(folder.path, "s.db"), 0);
  try {
    const root = `${url}/v1/streams/telemetry/groups`;
    const call = async (method: string, path: string, body?: unknown) => {
      const answer = await fetch(`${root}${path}`, {
        method,
        ...(body === undefined
          ? {}
          : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      return { status: answer.status, body: text === "" ? undefined : JSON.parse(text) };
    };
    assert.equal((await call("GET", "/g")).body.error.code, "group-unknown");
    assert.equal((await call("PUT", "/g")).status, 201);
    assert.equal((await call("PUT", "/g", { from: "newest" })).status, 200);
    assert.deepEqual(
      (await call("GET", "")).body.groups.map(({ group }: { group: string }) => group),
      ["g"],
    );
    assert.deepEqual((await call("POST", "/g/take")).body, { entries: [] });
    // One that waits is answered as soon as there is something.
    const waiting = call("POST", "/g/take", { waitMs: 30_000, member: "m1" });
    await waitFor(
      async () => {
        await post(`${url}/fill`, { first: 1, count: 5 });
        return true;
      },
      { what: "entries" },
    );
    const { body: taken } = await waiting;
    assert.ok(taken.entries.length >= 1);
    assert.deepEqual(taken.entries[0].body, { n: 1, grams: 10 });
    assert.deepEqual((await call("GET", "/g")).body.members, ["m1"]);
    assert.deepEqual(
      (await call("POST", "/g/extend", { delivery: taken.delivery, ackMs: 5000 })).body,
      {
        held: true,
      },
    );
    const done = await call("POST", "/g/ack", { delivery: taken.delivery });
    assert.deepEqual(done.body, { state: "acknowledged" });
    const refusals: [string, unknown, number, RegExp][] = [
      ["/g/take", { limit: "ten" }, 400, /^limit: /],
      ["/g/take", { waitMs: 60_000 }, 400, /^waitMs: /],
      ["/g/ack", {}, 400, /^delivery: /],
      ["/g/ack", { delivery: "1.2.3.4" }, 409, /^delivery: /],
      ["/g/seek", { from: "yesterday" }, 400, /./],
      ["/g/seek", { after: "zzz.1" }, 400, /zzz\.1/],
      ["/g/ack", { delivery: "x", results: [{ stream: "diary" }] }, 400, /^results\.0\.body/],
    ];
    for (const [path, body, status, message] of refusals) {
      const answer = await call("POST", path, body);
      assert.equal(answer.status, status, JSON.stringify(answer.body));
      assert.match(answer.body.error.message, message);
    }
    const moved = await call("POST", "/g/seek", { from: "1970-01-01T00:00:00Z" });
    assert.equal(moved.body.lag, 5);
    assert.equal((await call("DELETE", "/g")).status, 204);
    assert.equal((await call("GET", "/g")).status, 404);
  } finally {
    await kill(node);
  }
});

test("the example of docs/streams.md does what it says", async () => {
  using folder = temporaryFolder();
  const { node, url } = await startNode(join(folder.path, "s.db"), 0);
  try {
    await post(`${url}/fill`, { stream: "scales", first: 1, count: 120 });
    const text = readFileSync(join(import.meta.dirname, "../../docs/streams.md"), "utf8");
    const [, code = ""] = /^## Consumer groups\n.*?^```js\n(.*?)^```/ms.exec(text) ?? [];
    const example = code.replaceAll(/^import .*$/gm, "").replaceAll("process.env.", "environment.");
    const AsyncFunction = (async () => {}).constructor as new (
      ...parts: string[]
    ) => (...parts: unknown[]) => Promise<void>;
    const run = new AsyncFunction("createClient", "readFile", "environment", "console", example);
    const done = Promise.withResolvers<void>();
    // The example's loop goes on for ever, as it should; this test ends it.
    const control = new AbortController();
    const endingClient: typeof createClient = (options) => {
      const client = createClient(options);
      const group: typeof client.group = (...of) => {
        const made = client.group(...of);
        const batches: typeof made.batches = (given) =>
          made.batches({ ...given, signal: control.signal });
        return { ...made, batches };
      };
      return { ...client, group };
    };
    const lines: unknown[][] = [];
    const environment = { SKERRY_GATEWAY: url, SKERRY_TOKEN_FILE: "token" };
    const log = (...line: unknown[]) => {
      lines.push(line);
      if (lines.length === 3) done.resolve();
    };
    const running = run(endingClient, async () => "secret", environment, { log });
    await Promise.race([done.promise, running]);
    control.abort();
    await running;
    assert.deepEqual(lines, [
      [50, 500, "acknowledged"],
      [50, 500, "acknowledged"],
      [20, 200, "acknowledged"],
    ]);
    const totals: unknown[] = [];
    for await (const { body } of createClient({ url }).query("totals")) totals.push(body["total"]);
    assert.deepEqual(totals, [500, 500, 200]);
  } finally {
    await kill(node);
  }
});
