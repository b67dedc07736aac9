/** The same coordination on three real etcd members: nothing differs, and losing them is told as what it is. */
import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { createCoordination, type CoordinationClient } from "../../src/client/index.ts";
import { strongContract } from "../contract/strong-documents.ts";
import { patientMs, startGateway, startService } from "../support/coordination.ts";
import { memoryFolder, startEtcd, type TestEtcd } from "../support/etcd.ts";
import { startStrongNode, strongService, type StrongNode } from "../support/strong.ts";
import { waitFor } from "../support/wait.ts";

let folder: Awaited<ReturnType<typeof memoryFolder>>;
let etcd: TestEtcd;

before(async () => {
  folder = await memoryFolder();
  etcd = await startEtcd({
    subnet: "127.0.42",
    folder: folder.path,
    members: 3,
    // A machine that stands still for seconds costs no leader, and so makes no outcome unknown.
    timers: { heartbeatMs: 250, electionMs: 3500 },
  });
});
after(async () => {
  await etcd[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

test("T1 to T4: two servers have one strong collection, over etcd", async (t) => {
  const nodes = await Promise.all(
    [1, 2].map(async () => {
      const ledger = await etcd.openLedger();
      const node = await startStrongNode(t, strongService(t, ledger));
      t.after(() => ledger.close());
      return node;
    }),
  );
  await strongContract(nodes as [StrongNode, StrongNode]);
});

test("keys, sessions, fences and watches on etcd, and what is said when members are lost", async (t) => {
  const ledger = await etcd.openLedger();
  t.after(() => ledger.close());
  const { url } = await startGateway(t, startService(t, ledger, { timeoutMs: 10_000 }));
  const client: CoordinationClient = createCoordination({
    gateway: url,
    token: "good-a",
    timeoutMs: patientMs,
  });
  const made = await client.cas("k", 0, "1");
  assert.ok(made.state === "done");
  const refused = await client.cas("k", 0, "2");
  assert.ok(refused.state === "refused" && refused.reason === "condition-failed");
  assert.equal(refused.current?.modRevision, made.revision);

  const stop = new AbortController();
  t.after(() => stop.abort());
  const seen: string[] = [];
  const watching = (async () => {
    for await (const { events } of client.watch("", { after: made.revision, signal: stop.signal }))
      for (const event of events)
        seen.push(event.type === "put" ? `${event.entry.key}=${event.entry.text()}` : event.key);
  })();

  const first = await client.lock("door", { ttlMs: 600_000 });
  assert.equal((await client.put("state", "1", { fence: first.fence })).state, "done");
  const waiting = client.lock("door", { ttlMs: 600_000 });
  await first.release();
  const second = await waiting;
  t.after(() => second.release());
  assert.ok(second.token > first.token);
  const late = await client.put("state", "2", { fence: first.fence });
  assert.ok(late.state === "refused" && late.reason === "fence-lost");
  const session = await client.session({ ttlMs: 600_000 });
  await client.put("mine", "x", { session });
  await session.end();
  assert.equal(await client.get("mine"), undefined);
  await waitFor(() => seen.length === 3, { what: "three changes", timeoutMs: 60_000 });
  assert.deepEqual(seen, ["state=1", "mine=x", "mine"]);

  // One of three is lost: writes go on, with at most an unknown one on the way.
  await etcd.members[0]?.kill();
  await waitFor(
    async () => {
      const now = await client.get("state");
      return (await client.cas("state", now?.modRevision ?? 0, "3")).state === "done";
    },
    { what: "a write through the two that are left", timeoutMs: 60_000 },
  );
  assert.ok(!second.lost.aborted);
  await waitFor(() => seen.at(-1) === "state=3", { what: "the watch", timeoutMs: 60_000 });

  // Two of three: nothing can be agreed on.
  await etcd.members[1]?.kill();
  const codeOf = (error: { code: string }) => error.code;
  const lost = ["quorum-lost", "ledger-unavailable"];
  const read = await waitFor(() => client.get("state").then(() => undefined, codeOf), {
    what: "a read without an answer",
    timeoutMs: 60_000,
  });
  assert.ok(lost.includes(read), read);
  const outcome = await client.put("state", "4").then(({ state }) => state, codeOf);
  assert.ok(["unknown", ...lost].includes(outcome), outcome);

  // They come back, and so does all the rest by itself.
  await Promise.all([etcd.members[0]?.start(), etcd.members[1]?.start()]);
  const back = await waitFor(() => client.get("state"), { what: "an answer", timeoutMs: 60_000 });
  assert.ok(["3", "4"].includes(back.text()));
  assert.equal((await client.put("last", "x", { fence: second.fence })).state, "done");
  await waitFor(() => seen.includes("last=x"), { what: "the watch", timeoutMs: 60_000 });
  stop.abort();
  await watching;
});
