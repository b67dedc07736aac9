/** What every driver keeps: called by a test file for each driver with what makes one. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { Driver, Instance, InstanceSpec } from "../../src/workloads/index.ts";
import { waitFor } from "../support/wait.ts";
import { readAll } from "../support/workloads.ts";

export type DriverUnderTest = AsyncDisposable & {
  readonly driver: Driver;
  /** The specification of a shell script that this driver can run. */
  shell(script: string, more?: Partial<InstanceSpec>): InstanceSpec;
  /** Another driver over the same engine, as a restarted agent has it. */
  again(): Driver;
};

export function driverContract(name: string, make: () => Promise<DriverUnderTest>): void {
  const find = async (driver: Driver, id: string) =>
    (await driver.list()).find((instance) => instance.id === id);
  const ended = (driver: Driver, id: string) =>
    waitFor(
      async () => {
        const current = (await find(driver, id))?.current;
        return current?.state === "exited" ? current : undefined;
      },
      { what: `${id} to end` },
    );

  test(`${name}: D1: a start is idempotent by id and says whose it is`, async () => {
    await using made = await make();
    const { driver, shell } = made;
    const spec = shell("exec sleep 1000");
    const [first, second] = await Promise.all([driver.start(spec), driver.start(spec)]);
    assert.deepEqual(first, second);
    assert.equal(first.current.state, "running");
    assert.deepEqual(first.owner, spec.owner);
    assert.equal(first.graceMs, spec.graceMs);
    assert.equal((await driver.list()).length, 1);
  });

  test(`${name}: D2: the end is reported with its code, by list and by change`, async () => {
    await using made = await make();
    const { driver, shell } = made;
    const changes: (Instance | undefined)[] = [];
    const off = driver.onChange((instance) => changes.push(instance));
    const spec = shell("exit 5");
    await driver.start(spec);
    const current = await ended(driver, spec.id);
    assert.deepEqual([current.exit.code, current.exit.reason], [5, "exited"]);
    assert.ok(current.endedMs >= (current.startedMs ?? Infinity));
    await waitFor(() => changes.some((instance) => instance?.current.state === "exited"), {
      what: "the change",
    });
    off();
  });

  test(`${name}: D3: a stop ends it within its grace or kills it, and can be asked twice`, async () => {
    await using made = await make();
    const { driver, shell } = made;
    const polite = shell("trap 'exit 7' TERM; while :; do sleep 0.02; done");
    const deaf = shell("trap '' TERM; echo deaf; while :; do sleep 0.02; done");
    for (const spec of [polite, deaf]) await driver.start(spec);
    await waitFor(async () => (await readAll(driver.logs(deaf.id, {}))) === "deaf\n", {
      what: "the trap to stand",
    });
    const slow = driver.stop(deaf.id, { graceMs: 60_000 });
    const [one, two] = await Promise.all([driver.stop(deaf.id, { graceMs: 50 }), slow]);
    assert.deepEqual(one, two, "the shorter grace counts for both");
    assert.ok(one.current.state === "exited");
    assert.equal(one.current.exit.signal, 9);
    const stopped = await driver.stop(polite.id, { graceMs: 60_000 });
    assert.ok(stopped.current.state === "exited");
    assert.ok([7, 143].includes(stopped.current.exit.code ?? 0));
    assert.deepEqual(await driver.stop(polite.id, { graceMs: 0 }), stopped);
    await assert.rejects(driver.stop("nobody", { graceMs: 0 }), { code: "container-unknown" });
  });

  test(`${name}: D4: another agent finds it by list, reads its log and stops it`, async () => {
    await using made = await make();
    const { driver, shell } = made;
    const spec = shell("echo here; exec sleep 1000");
    const started = await driver.start(spec);
    const other = made.again();
    assert.deepEqual(await find(other, spec.id), started);
    await waitFor(async () => (await readAll(other.logs(spec.id, {}))) === "here\n", {
      what: "the log",
    });
    const stopped = await other.stop(spec.id, { graceMs: 0 });
    assert.equal(stopped.current.state, "exited");
  });

  test(`${name}: D5: an ended one is forgotten on request, twice without harm`, async () => {
    await using made = await make();
    const { driver, shell } = made;
    const spec = shell("exit 0");
    await driver.start(spec);
    await ended(driver, spec.id);
    await driver.remove(spec.id);
    await driver.remove(spec.id);
    assert.deepEqual(await driver.list(), []);
    await assert.rejects(readAll(driver.logs(spec.id, {})), { code: "container-unknown" });
  });

  test(`${name}: D6: exec answers code and output, and ends what is too slow`, async () => {
    await using made = await make();
    const { driver, shell } = made;
    const spec = shell("exec sleep 1000");
    await driver.start({ ...spec, env: { ...spec.env, WORD: "ahoy" } });
    const said = await driver.exec(spec.id, ["/bin/sh", "-c", "echo $WORD; exit 3"], {
      timeoutMs: 10_000,
    });
    assert.deepEqual([said.code, said.stdout, said.timedOut], [3, "ahoy\n", false]);
    const slow = await driver.exec(spec.id, ["/bin/sleep", "1000"], { timeoutMs: 50 });
    assert.deepEqual([slow.code, slow.timedOut], [undefined, true]);
  });

  test(`${name}: D7: what there is nothing to run of is refused and leaves nothing`, async () => {
    await using made = await make();
    const { driver, shell } = made;
    await assert.rejects(driver.start({ ...shell("true"), argv: ["/no/such/program"] }), {
      code: "container-command",
    });
    assert.deepEqual(await driver.list(), []);
  });

  test(`${name}: D8: the report of abilities says of an instance what it says of the driver`, async () => {
    await using made = await make();
    const { driver, shell } = made;
    const limited = shell("exec sleep 1000", { limits: { memoryBytes: 64 << 20, cpuMilli: 500 } });
    assert.deepEqual((await driver.start(limited)).abilities, await driver.abilities());
  });
}
