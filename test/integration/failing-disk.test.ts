/** Disks that fail under a store as real ones do, by what the kernel answers. */
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { range, temporaryFolder } from "../support/data.ts";
import { failingDisk } from "../support/failing-disk.ts";
import { smallDisk } from "../support/small-disk.ts";
import { waitFor } from "../support/wait.ts";

/** A store in a process of its own. */
async function startWriter(folder: string, env: Readonly<Record<string, string>>) {
  const entry = join(import.meta.dirname, "../support/stream-writer.entry.ts");
  const child = spawn(process.execPath, [entry, folder], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, "ready");
  return {
    /** The state or code of an append of so many, and how many readings were dropped so far. */
    async append(stream: string, count: number) {
      child.stdin.write(`${stream} ${count}\n`);
      const [went = "", dropped] = ((await lines.next()).value ?? "").split(" ");
      return { went, dropped: Number(dropped) };
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      if (child.exitCode === null && child.signalCode === null)
        await new Promise((resolve) => child.once("exit", resolve));
    },
  };
}

test("D8: a quota that is used up is a full disk: streams give way, and go on when it is raised", async () => {
  using folder = temporaryFolder();
  using small = smallDisk(join(folder.path, "disk"), "64m");
  const disk = failingDisk(small.path);
  disk.setQuota(24_000_000);
  await using writer = await startWriter(small.path, disk.env);
  let dropped = 0;
  for (let n = 0; dropped < 1000 && n < 500; n++) {
    const answer = await writer.append("readings", 100);
    assert.equal(answer.went, "stored");
    ({ dropped } = answer);
  }
  assert.ok(dropped >= 1000);
  const bytes = () => statSync(join(small.path, "streams.db")).size;
  const whenFull = bytes();
  // For longer than it takes to look for space: there seems to be some.
  for (const untilMs = performance.now() + 1500; performance.now() < untilMs;) {
    assert.equal((await writer.append("readings", 100)).went, "stored");
    assert.equal((await writer.append("alarms", 1)).went, "stored");
  }
  assert.equal(bytes(), whenFull);
  disk.setQuota(1e9);
  await waitFor(
    async () => {
      ({ dropped } = await writer.append("readings", 500));
      return bytes() > whenFull;
    },
    { what: "a file that grows" },
  );
  for (const _ of range(1, 20))
    assert.deepEqual(await writer.append("readings", 100), { went: "stored", dropped });
});

test("a ballast that no quota has room for leaves a store what it needs", async () => {
  using folder = temporaryFolder();
  using small = smallDisk(join(folder.path, "disk"), "64m");
  const disk = failingDisk(small.path);
  disk.setQuota(6_000_000);
  await using writer = await startWriter(small.path, disk.env);
  for (const _ of range(1, 5))
    assert.deepEqual(await writer.append("alarms", 100), { went: "stored", dropped: 0 });
});
