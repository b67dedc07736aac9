/** `skerry data tail` against a node's gateway that goes and comes back. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { registerData } from "../../src/cli/commands/data.ts";
import { createContext } from "../../src/cli/context.ts";
import { createStreamRoutes, openStreamStore } from "../../src/data/index.ts";
import type { MonotonicMs, WallMs } from "../../src/lib/brand.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { writeInfo } from "../../src/runtime/local/index.ts";
import { entry, range, telemetry, temporaryFolder } from "../support/data.ts";
import { joined } from "../support/joined.ts";
import { hostDeps } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

test("a tail that loses its node says so and goes on when it is back, with a token that is still good", async (t) => {
  const folder = temporaryFolder();
  const dataDir = folder.path;
  await joined(dataDir);
  const store = openStreamStore(hostDeps, { path: join(dataDir, "streams.db"), node: "n1" });
  await store.setStreams([telemetry]);
  await store.append(range(1, 5).map((sequence) => entry(sequence)));
  const tokens = new Set<string | undefined>();
  const serve = async (port: number) => {
    const app = createHttpApp();
    app.addHook("onRequest", async ({ headers }) => void tokens.add(headers.authorization));
    createStreamRoutes(store, hostDeps)(app);
    return { app, gateway: await app.listen({ host: "127.0.0.1", port }) };
  };
  let { app, gateway } = await serve(0);
  writeInfo(dataDir, "node", { node: "n1", gateway });
  const control = new AbortController();
  t.after(async () => {
    control.abort();
    await app.close();
    await store.close();
    folder[Symbol.dispose]();
  });

  let laterMs = 0;
  let pauses = 0;
  const { clock: host } = hostDeps;
  const clock: Clock = {
    ...host,
    monotonicMs: () => (host.monotonicMs() + laterMs) as MonotonicMs,
    wallMs: () => (host.wallMs() + laterMs) as WallMs,
    sleep(...of) {
      pauses++;
      return host.sleep(...of);
    },
  };
  const lines: string[] = [];
  const notes: string[] = [];
  const run = async () => {
    const program = new Command("skerry").exitOverride();
    const context = createContext();
    registerData(program, {
      ...context,
      clock,
      stop: () => control.signal,
      output: {
        ...context.output,
        line: (text) => void lines.push(text),
        note: (text) => void notes.push(text),
      },
    });
    const words = ["data", "tail", "telemetry", "--limit", "2", "--json", "--data", dataDir];
    await program.parseAsync(words, { from: "user" });
  };
  const running = run();
  await waitFor(() => lines.length >= 2, { what: "the newest" });
  await app.close();
  await waitFor(() => pauses >= 2, { what: "the node to be asked in vain" });
  // Longer than half of what a token lives.
  laterMs = 31 * 60_000;
  await assert.rejects(run(), { code: "not-answering" });
  await store.append([6, 7, 8].map((sequence) => entry(sequence)));
  ({ app } = await serve(Number(new URL(gateway).port)));
  await waitFor(() => lines.length >= 5, { what: "what came meanwhile" });
  control.abort();
  await running;
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { sequence: number }).sequence),
    [4, 5, 6, 7, 8],
  );
  assert.equal(notes.length, 1);
  assert.match(notes[0] ?? "", /trying again/);
  assert.equal(tokens.size, 2);
});
