/**
 * Rule F with a real keeper and real processes: what its timers cover (an agent that stands still), what
 * they cannot (a keeper that stands still), and that there the fencing token decides.
 */
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import type { ContainerSpec, Keeper } from "../../src/keeper/index.ts";
import type { Ledger } from "../../src/ledger/index.ts";
import { bootTimeMs } from "../../src/runtime/clock/index.ts";
import { createKeeperFolder, isRunning, shellContainer } from "../support/keeper.ts";
import { bytes, openTestLedger, temporaryFolder, text } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const ttlMs = 3000;
/** Nobody renews it: a machine that stands still must not end it before the keeper is stopped. */
const longTtlMs = 8000;
const graceMs = 500;
const entry = fileURLToPath(new URL("../support/leased-agent.entry.ts", import.meta.url));

async function startAgent(dataDir: string) {
  const child = spawn(process.execPath, [entry, dataDir, String(ttlMs)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, SKERRY_TEST: dataDir },
  });
  await once(child.stdout, "data");
  return child;
}

/** Undefined: the lease is not held at this moment. */
const startedBy = (keeper: Keeper, spec: ContainerSpec) =>
  keeper.processes.start(spec).catch((error: { code?: string }) => {
    assert.equal(error.code, "lease-expired");
    return undefined;
  });

/** A resource that checks tokens: whoever brings an older one than it has seen is refused. */
async function accepts(ledger: Ledger, token: number): Promise<boolean> {
  const key = "demo/register";
  for (;;) {
    const { keyValue } = await ledger.get(key);
    if (Number(text(keyValue?.value) ?? 0) > token) return false;
    const outcome = await ledger.transact(
      [{ key, modRevision: keyValue?.modRevision ?? 0 }],
      [{ type: "put", key, value: bytes(String(token)) }],
    );
    if (outcome.state === "done") return true;
  }
}

test("K11: an agent that stands still renews nothing, and the keeper stops what ran by its lease, and that alone", async () => {
  await using folder = createKeeperFolder();
  const keeper = await folder.open();
  const agent = await startAgent(folder.dataDir);
  try {
    const leased = shellContainer(folder, "trap '' TERM; while :; do sleep 0.1; done", {
      leased: true,
      leaseTtlMs: ttlMs,
      graceMs,
    });
    const free = shellContainer(folder, "sleep 1000");
    const begin = (spec: ContainerSpec) =>
      waitFor(() => startedBy(keeper, spec), { what: `${spec.id} to start by the lease` });
    await begin(leased);
    await keeper.processes.start(free);
    const stateOf = async (id: string) =>
      (await keeper.processes.list()).find((status) => status.id === id)?.current;
    agent.kill("SIGSTOP");
    const last = await waitFor(
      async () => {
        const current = await stateOf(leased.id);
        return current?.state === "exited" ? current : undefined;
      },
      { what: "the leased container to be stopped" },
    );
    assert.equal(last.exit.reason, "lease-expired");
    assert.equal(last.exit.signal, 9, "it did not hear TERM: killed after its grace");
    assert.equal((await stateOf(free.id))?.state, "running");
    // It may have been stopped for an earlier pause of the machine.
    await waitFor(async () => ((await keeper.status()).leaseUntilBootMs ?? 0) <= bootTimeMs(), {
      what: "the lease to be over",
    });
    await assert.rejects(keeper.processes.start({ ...leased, id: "again" }), {
      code: "lease-expired",
    });
    agent.kill("SIGCONT");
    await begin({ ...leased, id: "again" });
    await assert.rejects(
      keeper.processes.start({ ...leased, id: "late", leaseSentBootMs: bootTimeMs() - ttlMs }),
      { code: "lease-expired" },
      "K12: decided under a renewal whose time is over",
    );
  } finally {
    agent.kill("SIGKILL");
  }
});

test("F: a keeper that stands still stops nothing; there the token of the older incarnation is refused", async () => {
  await using folder = createKeeperFolder();
  await using place = await temporaryFolder();
  await using ledger = openTestLedger({ path: join(place.path, "ledger.db") });
  const keeper = await folder.open();
  const file = join(place.path, "request");
  const spec = shellContainer(
    folder,
    `while :; do echo $SKERRY_FENCE > ${file}; sleep 0.05; done`,
    {
      leased: true,
      leaseTtlMs: longTtlMs,
      graceMs,
    },
  );
  await keeper.renewLease({ sentBootMs: bootTimeMs(), ttlMs: longTtlMs });
  const env = { ...spec.env, SKERRY_FENCE: "41" };
  const older = await keeper.processes.start({ ...spec, env });
  const keeperPid = folder.pid();
  assert.ok(keeperPid);
  process.kill(keeperPid, "SIGSTOP");
  assert.ok(older.current.state === "running");
  const { pid } = older.current;
  try {
    const request = () => Number(existsSync(file) ? readFileSync(file, "utf8") : 0);
    await waitFor(() => request() === 41, { what: "its first request" });
    assert.equal(await accepts(ledger, 41), true);
    const overMs = bootTimeMs() + longTtlMs + graceMs + 500;
    await waitFor(() => bootTimeMs() > overMs, { what: "the lease and the grace to be over" });
    assert.ok(isRunning(pid), "no timer covers a keeper that stands still");
    // The cell has started another by now, elsewhere, with the token of its own binding.
    assert.equal(await accepts(ledger, 58), true);
    rmSync(file);
    await waitFor(() => request() === 41, { what: "a further request of the older one" });
    assert.equal(await accepts(ledger, 41), false, "the older one is refused");
    assert.equal(await accepts(ledger, 58), true);
  } finally {
    process.kill(keeperPid, "SIGCONT");
  }
  await waitFor(() => !isRunning(pid), { what: "the keeper to stop it once it goes on" });
});
