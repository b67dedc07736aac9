/** `skerry data dead` against a node's gateway. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { Command } from "commander";
import { registerData } from "../../src/cli/commands/data.ts";
import { createContext } from "../../src/cli/context.ts";
import { createGateway } from "../../src/gateway/index.ts";
import {
  createDeadLetters,
  httpIngestRoutes,
  type StreamDeclaration,
} from "../../src/ingest/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock as clock } from "../../src/runtime/clock/index.ts";
import { writeInfo } from "../../src/runtime/local/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { createTestStore, refused } from "../support/ingest.ts";
import { joined } from "../support/joined.ts";

test("I4, I19: what was refused is listed, and taken once its reason is gone; what is not shown or left is said", async (t) => {
  const folder = temporaryFolder();
  await joined(folder.path);
  const metrics = createMetrics();
  const deadLetters = createDeadLetters({ clock });
  const store = createTestStore();
  const streams: StreamDeclaration[] = [];
  const routes = httpIngestRoutes({
    ...{ append: store.append, streams: () => streams, deadLetters, clock, metrics },
  });
  const people = "spiffe://shop.skerry/user/cli";
  const gateway = await createGateway(
    {
      authenticate: async (token) => ({
        id: token === "scale" ? "spiffe://shop.skerry/ns/a/sa/s" : people,
      }),
      ...{ routes: [routes], clock, log: silentLog, metrics },
    },
    { host: "127.0.0.1", port: 0 },
  );
  writeInfo(folder.path, "node", { node: "n1", gateway: gateway.url });
  t.after(async () => {
    await gateway.stop();
    process.exitCode = 0;
    folder[Symbol.dispose]();
  });
  const post = (stream: string, body: string) =>
    fetch(`${gateway.url}/v1/streams/${stream}/entries`, {
      ...{ method: "POST", body },
      headers: { "content-type": "application/json", authorization: "Bearer scale" },
    });
  const context = createContext();
  const run = async (...words: string[]) => {
    const [lines, notes]: [string[], string[]] = [[], []];
    const program = new Command("skerry").exitOverride();
    registerData(program, {
      ...context,
      output: {
        ...{ ...context.output, isTerminal: false },
        line: (text) => void lines.push(text),
        note: (text) => void notes.push(text),
      },
    });
    process.exitCode = 0;
    const args = ["data", "dead", ...words, "--data", folder.path];
    await program.parseAsync(["node", "skerry", ...args]);
    return { lines: lines.join("\n").split("\n"), notes, exitCode: process.exitCode };
  };

  assert.deepEqual((await run("list")).lines, ["nothing was refused"]);
  assert.deepEqual((await run("retry")).lines, ["no such letter"]);

  for (let n = 1; n <= 103; n++) await post("scales", `{"n":${n}}`);
  await post("scales", "nonsense");
  const listed = await run("list");
  assert.equal(listed.lines.length, 1 + 100);
  assert.match(
    listed.lines[1] ?? "",
    /^104\t[^\t]+\thttp\tscales\tns\/a\/sa\/s\t8\tyes\tstream-unknown\tthere is no stream "scales"$/,
  );
  assert.deepEqual(listed.notes, [
    "the latest 100; 4 older are kept",
    "since the agent started: 104 stream-unknown",
  ]);
  const json = await run("list", "--json");
  assert.equal(json.lines.length, 100);
  assert.deepEqual(json.notes, ["the latest 100; 4 older are kept"]);
  const letter = JSON.parse(json.lines[0] ?? "") as Record<string, unknown>;
  assert.deepEqual([letter.id, letter.excerpt], [104, undefined], "what it held only its sender");

  const again = await run("retry", "1");
  assert.deepEqual(again.lines, ["0 stored, 1 refused again: skerry data dead list"]);
  assert.equal(again.exitCode, 1);

  streams.push({ name: "scales", durability: { level: "local" }, mqttTopics: [] });
  const one = await run("retry", "3");
  assert.deepEqual([one.lines, one.exitCode], [["1 stored"], 0]);
  assert.deepEqual(store.bodies(), [{ n: 3 }]);
  store.behaviour = async () => (store.stored.length < 3 ? undefined : refused("disk-full"));
  const some = await run("retry", "--code", "stream-unknown", "--stream", "scales");
  assert.equal(
    some.lines[0],
    "2 stored, 1 refused again: skerry data dead list, 100 not yet: run it again",
  );
  assert.equal(some.exitCode, 1);
  store.behaviour = undefined;
  const rest = await run("retry", "--source", "http", "--json");
  assert.deepEqual(JSON.parse(rest.lines[0] ?? ""), {
    ...{ stored: 100, refused: 1, skipped: 0, left: 0 },
  });
  assert.equal(store.stored.length, 103);
  assert.match((await run("list")).lines[1] ?? "", /^104\t.*\tinvalid-entry\tbody: is not JSON/);
});
