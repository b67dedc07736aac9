import { strict as assert } from "node:assert";
import { test } from "node:test";
import { feedProxy, followOffset } from "../../src/agent/paths/traffic-path.ts";
import { createMirrored } from "../../src/agent/mirrored.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import type { KubeObject } from "../../src/api/index.ts";
import type { Log } from "../../src/lib/log.ts";
import { silentLog } from "../../src/lib/log.ts";
import type { Resources } from "../../src/resources/index.ts";
import { systemClock as clock } from "../../src/runtime/clock/index.ts";
import type { RouteTable, Traffic } from "../../src/traffic/index.ts";
import { waitFor } from "../support/wait.ts";

/** Followers by kind, told by hand. */
function byHand() {
  const tellByKind = new Map<string, (objects: readonly KubeObject[]) => void>();
  return {
    mirrored: {
      follow: (kind: { kind: string }, listener: (objects: never) => void) =>
        void tellByKind.set(kind.kind, listener as (objects: readonly KubeObject[]) => void),
    },
    tell: (kind: string) => tellByKind.get(kind)?.([]),
  };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("the proxy gets no table until all four lists are there and the state is known", async () => {
  const tables: RouteTable[] = [];
  const traffic = { setTable: async (table: RouteTable) => void tables.push(table) };
  const { mirrored, tell } = byHand();
  let known = false;
  feedProxy(
    { traffic: traffic as unknown as Traffic },
    {
      mirrored,
      isKnown: () => known,
      record: { node: "n1" },
      clock,
      log: silentLog,
      signal: new AbortController().signal,
    },
  );
  for (const kind of ["Ingress", "Service", "Endpoints"]) {
    tell(kind);
    await turn();
  }
  assert.equal(tables.length, 0);
  tell("Node");
  await turn();
  assert.equal(tables.length, 0);
  known = true;
  await waitFor(() => tables.length === 1, { what: "the first table" });
});

test("a part that cannot read an object does not end the agent, and is told again", async () => {
  const errors: string[] = [];
  const log: Log = { ...silentLog, error: (message) => void errors.push(message) };
  const stop = new AbortController();
  const named = (name: string) => ({ type: "ADDED", object: { metadata: { name } } });
  const resources = {
    async *watch() {
      yield named("bad");
      yield { type: "BOOKMARK" };
      await waitFor(() => errors.length > 0, { what: "the failure to be logged" });
      yield named("good");
      await new Promise((resolve) => stop.signal.addEventListener("abort", resolve));
    },
  } as unknown as Resources;
  let last = 0;
  createMirrored({ resources, clock, log, signal: stop.signal }).follow(
    { kind: "Stream" } as never,
    (objects) => {
      if (objects.length === 1) throw new Error("unreadable");
      last = objects.length;
    },
  );
  await waitFor(() => last === 2, { what: "the second list" });
  assert.equal(errors.length, 1);
  stop.abort();
});

test("the proxy is told the cell's time again once it moved, and only then", async () => {
  const simulated = createSimulatedClock();
  let offsetMs = 0;
  let told = 0;
  const timer = followOffset(
    { clock: simulated, log: silentLog },
    { offsetMs: () => offsetMs, tell: async () => void told++ },
  );
  offsetMs = 300;
  await simulated.advance(20_000);
  assert.equal(told, 0);
  offsetMs = 3 * 86_400_000;
  await simulated.advance(20_000);
  assert.equal(told, 1);
  timer.cancel();
});
