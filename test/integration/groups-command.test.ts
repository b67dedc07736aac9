/** `skerry data groups` against a node's gateway, and what groups of the cell count there. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { groupLedgerOf } from "../../src/agent/group-ledger.ts";
import { registerData } from "../../src/cli/commands/data.ts";
import { createContext } from "../../src/cli/context.ts";
import {
  countCellGroups,
  createCellGroups,
  createGroupRoutes,
  createStreamRoutes,
  openStreamStore,
  type StreamStore,
} from "../../src/data/index.ts";
import {
  createCoordinationService,
  groupSpace,
  type Coordination,
} from "../../src/ledger/applications/index.ts";
import { openSqliteLedger } from "../../src/ledger/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { writeInfo } from "../../src/runtime/local/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { diary, entry, range, telemetry, temporaryFolder } from "../support/data.ts";
import { joined } from "../support/joined.ts";
import { hostDeps } from "../support/ledger.ts";

test("groups of the node and of the cell are listed and shown, also while the ledger is away", async (t) => {
  const folder = temporaryFolder();
  const dataDir = folder.path;
  await joined(dataDir);
  const ledger = openSqliteLedger({ ...hostDeps, path: join(dataDir, "ledger.db") });
  const service = createCoordinationService({ ...hostDeps, ledger }, { space: groupSpace });
  const store = openStreamStore(hostDeps, { path: join(dataDir, "streams.db"), node: "n1" });
  await store.setStreams([telemetry, diary]);
  await store.append(range(1, 10).map((sequence) => entry(sequence)));
  let isAway = false;
  const through: Coordination = {
    async call(...asked) {
      if (isAway)
        throw new SkerryError({ code: "server-lost", message: "no server", retryable: true });
      return await service.call(...asked);
    },
    stream: service.stream,
  };
  const metrics = createMetrics();
  const { counters, showHeld } = countCellGroups(metrics);
  const groups = createCellGroups({
    ...hostDeps,
    store,
    ledger: groupLedgerOf(through, { node: "n1", id: "spiffe://shop.skerry/node/n1" }),
    counters,
  });
  showHeld(() => groups.held());
  const app = createHttpApp();
  const on: StreamStore["on"] = (event, listener) => store.on(event, listener);
  createStreamRoutes(store, hostDeps)(app);
  createGroupRoutes({ groups: store.groups, on }, { clock: hostDeps.clock })(app);
  createGroupRoutes({ groups, on }, { clock: hostDeps.clock, folder: "cell-groups" })(app);
  const gateway = await app.listen({ host: "127.0.0.1", port: 0 });
  writeInfo(dataDir, "node", { node: "n1", gateway });
  t.after(async () => {
    isAway = false;
    await app.close();
    await groups.stop();
    service.close();
    await Promise.all([store.close(), ledger.close()]);
    process.exitCode = 0;
    folder[Symbol.dispose]();
  });
  const context = createContext();
  const run = async (...words: string[]): Promise<string> => {
    const lines: string[] = [];
    const line = (text: string) => void lines.push(text);
    const program = new Command("skerry").exitOverride();
    registerData(program, {
      ...context,
      output: { ...context.output, isTerminal: false, line, note: line },
    });
    await program.parseAsync(["node", "skerry", "data", "groups", ...words, "--data", dataDir]);
    return lines.join("\n");
  };

  assert.equal(await run("list"), "no consumer groups");
  const id = { stream: "telemetry", group: "billing" };
  await store.groups.create({ ...id, group: "local" }, { from: "oldest" });
  await groups.create(id, { from: "oldest" });
  const delivery = await groups.take(id, { limit: 4, member: "w1" });
  await groups.ack(id, delivery?.delivery ?? "");
  await groups.take(id, { limit: 2, member: "w2" });
  assert.deepEqual((await run("list")).split("\n"), [
    "STREAM\tGROUP\tSCOPE\tHOLDER\tLAG\tUNDER WAY\tMEMBERS",
    "telemetry\tlocal\tnode\there\t10\t0\t",
    "telemetry\tbilling\tcell\tn1\t6\t1\tw2",
  ]);
  assert.equal(await run("list", "diary"), "no consumer groups");
  assert.equal((await run("list", "telemetry", "--json")).split("\n").length, 2);
  const [origin = ""] = Object.keys(await store.vector());
  assert.match(
    await run("show", "telemetry", "billing"),
    new RegExp(
      `^telemetry/billing\\t\\nscope\\tcell\\nholder\\tn1\\nlag\\t6\\n[^]*up to ${origin}\\t4$`,
    ),
  );
  const shown = JSON.parse(await run("show", "telemetry", "local", "--json")) as { lag: number };
  assert.equal(shown.lag, 10);
  await store.groups.create(id, { from: "newest" });
  await assert.rejects(run("show", "telemetry", "billing"), { code: "invalid-argument" });
  assert.match(await run("show", "telemetry", "billing", "--scope", "node"), /^lag\t0$/m);
  await assert.rejects(run("show", "telemetry", "none"), { code: "group-unknown" });
  await assert.rejects(run("show", "telemetry", "x", "--scope", "all"), {
    code: "invalid-argument",
  });
  await assert.rejects(run("list", "none"), { message: /no stream/ });

  const text = await metrics.render();
  for (const line of [
    'skerry_cell_group_lag_entries{stream="telemetry",group="billing"} 6',
    'skerry_cell_group_taken_over_total{stream="telemetry",group="billing"} 1',
    'skerry_cell_group_acknowledged_entries_total{stream="telemetry",group="billing"} 4',
  ])
    assert.ok(text.includes(line), text);

  isAway = true;
  assert.match(
    await run("list"),
    /^STREAM.*\ntelemetry\tlocal\tnode\there\t10.*\ntelemetry\tbilling\tnode\there\t0.*\ngroups of the cell are not known now: no server$/,
  );
});
