/** Wills over a restart, and what becomes of a file of MQTT that is damaged. */
import { strict as assert } from "node:assert";
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { openMqttState, type StateBatch } from "../../src/ingest/mqtt-state/index.ts";
import { createJournal } from "../../src/ingest/mqtt/journal.ts";
import type { Message } from "../../src/ingest/mqtt/message.ts";
import { createWills, type Will } from "../../src/ingest/mqtt/wills.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";

function stateFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "skerry-wills-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "mqtt.db");
}

/** As an agent has it; ended without a word, like a killed one. */
async function startAgent(path: string) {
  const clock = createSimulatedClock();
  const file = openMqttState({ log: silentLog }, { path });
  const saved = await file.load();
  const lastKey = Math.max(0, ...saved.wills.map(({ key }) => key));
  const journal = createJournal({ store: file, clock, log: silentLog }, lastKey + 1);
  const published: Message[] = [];
  const wills = createWills({
    ...{ clock, journal },
    publish: async (message) => void published.push(message),
  });
  wills.restore(saved);
  const pass = async (ms: number) => {
    await clock.advance(ms);
    wills.sweep(clock.monotonicMs());
  };
  const connect = async (id: string, more: Partial<Will> = {}) => {
    const client = { id, owner: "a" };
    wills.isBack(client);
    const held = wills.hold(client, { message: message(id), delaySeconds: 0, ...more });
    await held.written;
    return held;
  };
  const end = async () => {
    wills.quiet();
    await journal.idle();
    await file.close();
  };
  const topics = () => published.map(({ topic }) => topic);
  return { clock, journal, wills, pass, connect, end, topics, published };
}

const message = (topic: string): Message => ({
  ...{ topic, payload: Buffer.from("gone"), qos: 1, retain: false, from: topic },
});

test("I18: who was connected when the agent ended, and is not back in a minute, is missed: its will is published, once", async (t) => {
  const path = stateFile(t);
  const first = await startAgent(path);
  await first.connect("gone");
  await first.connect("back");
  await first.connect("late", { delaySeconds: 600 });
  const polite = await first.connect("polite");
  polite.forget();
  const broken = await first.connect("broken");
  broken.publish();
  assert.deepEqual(first.topics(), ["broken"]);
  await first.journal.idle();
  await first.end();

  const second = await startAgent(path);
  await second.pass(59_000);
  await second.connect("back");
  second.wills.isBack({ id: "gone", owner: "somebody else" });
  assert.deepEqual(second.topics(), []);
  await second.pass(2_000);
  // Its session was not to be kept, and a will is published with the session's end at the latest.
  assert.deepEqual(second.topics().sort(), ["gone", "late"]);
  assert.equal(second.published[0]?.payload.toString(), "gone");
  await second.journal.idle();
  await second.end();

  const third = await startAgent(path);
  await third.pass(61_000);
  assert.deepEqual(third.topics(), ["back"]);
  await third.end();
});

test("a will's message expires after its own time, counted from its publication", async (t) => {
  const agent = await startAgent(stateFile(t));
  const held = await agent.connect("gone", { expirySeconds: 30 });
  await agent.pass(100_000);
  held.publish();
  assert.equal(agent.published[0]?.expiresAtMs, agent.clock.monotonicMs() + 30_000);
  await agent.end();
});

test("a damaged mqtt.db is set aside and begun anew: the node starts, and says what is lost", async (t) => {
  const path = stateFile(t);
  const empty: StateBatch = {
    ...{ sessions: [], queued: [], released: [], settled: [], received: [], completed: [] },
    ...{ unretained: [], ended: [], wills: [], willsEnded: [], retained: [] },
  };
  const saved = { topic: "a", qos: 1 as const, retain: true, from: "c" };
  const retained = [{ message: saved, payload: new Uint8Array(100_000) }];
  const file = openMqttState({ log: silentLog }, { path });
  await file.apply({ ...empty, retained });
  await file.close();
  truncateSync(path, 40_000);
  const told: string[] = [];
  const log = { ...silentLog, error: (text: string) => void told.push(text) };
  const anew = openMqttState({ log }, { path });
  assert.deepEqual((await anew.load()).retained, []);
  assert.ok(existsSync(`${path}.damaged`));
  assert.match(told.join(), /sessions and retained messages are lost/);
  await anew.apply({ ...empty, retained });
  assert.equal((await anew.load()).retained.length, 1);
  await anew.close();
  // No database at all, for the second time.
  writeFileSync(path, "no database".repeat(1000));
  const again = openMqttState({ log }, { path });
  assert.deepEqual((await again.load()).retained, []);
  await again.close();
});
