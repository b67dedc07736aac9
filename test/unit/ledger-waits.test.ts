/** E11 while there is no leader: who waits for those under way, and for how long, in virtual time. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { Core } from "../../src/ledger/etcd/core.ts";
import { EtcdFailure } from "../../src/ledger/etcd/client/outcome.ts";
import { createSlots } from "../../src/ledger/etcd/slots.ts";
import { createTransactions } from "../../src/ledger/etcd/transactions.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { seededRandom } from "../../src/lib/random.ts";

/** Members that answer after `answerMs`; what is sent before `electedMs` is lost, and told by nothing but its time. */
function startLedger({ electedMs, answerMs }: { electedMs: number; answerMs: number }) {
  const clock = createSimulatedClock();
  let revision = 1;
  let requests = 0;
  const attempt = (_method: unknown, _request: unknown, { timeoutMs }: { timeoutMs: number }) =>
    new Promise((resolve, reject) => {
      requests++;
      const lost = new EtcdFailure("unknown", { code: 4, details: "no answer", member: "n1" });
      if (clock.monotonicMs() < electedMs) clock.after(timeoutMs, () => reject(lost));
      else
        clock.after(answerMs, () =>
          resolve({ succeeded: true, header: { revision: ++revision }, responses: [] }),
        );
    });
  const core = {
    deps: { clock, random: seededRandom(1), log: silentLog },
    client: {
      attempt,
      attemptMs: (_attempt: number, leftMs: number) => Math.min(leftMs, 5000),
    },
    timeoutMs: 10_000,
    history: () => ({ epoch: "e", base: 0, first: 1, modRevision: 1 }),
    note: () => revision,
    assertOpen: () => undefined,
  } as unknown as Core;
  const transact = createTransactions(core, createSlots({ name: "n1", existing: [] }));
  const put = async (key: string) => {
    const value = new Uint8Array(1);
    const outcome = await transact([], [{ type: "put", key, value }]);
    assert.equal(outcome.state, "done");
  };
  return { clock, put, requests: () => requests };
}

test("E11: who comes after the next leader does not wait for what was sent to the one that is gone", async () => {
  const electedMs = 800;
  const { clock, put } = startLedger({ electedMs, answerMs: 5 });
  const before = Array.from({ length: 16 }, (_, index) => put(`before/${index}`));
  await clock.advance(electedMs);
  let answered = 0;
  const after = Array.from({ length: 16 }, (_, index) =>
    put(`after/${index}`).then(() => answered++),
  );
  await clock.advance(200);
  assert.equal(answered, after.length);
  await clock.advance(10_000);
  await Promise.all(before);
});

test("E11: on a ledger that takes its time those that wait still go together", async () => {
  const { clock, put, requests } = startLedger({ electedMs: 0, answerMs: 80 });
  const all = Array.from({ length: 400 }, (_, index) => put(`key/${index}`));
  await clock.advance(2000);
  await Promise.all(all);
  assert.ok(requests() <= 4 + 400 / 32, `${requests()} requests for 400 writes`);
});
