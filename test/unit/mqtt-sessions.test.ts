/** Whose a session is, how long it is kept, and when its will is published. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { Message } from "../../src/ingest/mqtt/message.ts";
import { createRetained } from "../../src/ingest/mqtt/retained.ts";
import { createSession } from "../../src/ingest/mqtt/session.ts";
import { createSessions, type OpenSession } from "../../src/ingest/mqtt/sessions.ts";
import { createWills } from "../../src/ingest/mqtt/wills.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";

function start() {
  const clock = createSimulatedClock();
  const wills: string[] = [];
  const ended: string[] = [];
  const retained = createRetained();
  const waiting = { bytes: 0 };
  const memory = { clock, journal: undefined };
  const sessions = createSessions({
    ...memory,
    wills: createWills({ ...memory, publish: async ({ topic }) => void wills.push(topic) }),
    onRestored: () => {},
    create: (identity) => createSession(identity, { retained, waiting, onDropped: () => {} }),
    onEnded: ({ id }) => ended.push(id),
  });
  const open = (clientId: string, more: Partial<OpenSession> = {}) =>
    sessions.open({
      ...{ clientId, owner: "a", clean: false, expirySeconds: 60, will: undefined },
      onTakenOver: () => {},
      ...more,
    });
  const held = (clientId: string, more: Partial<OpenSession> = {}) => {
    const opened = open(clientId, more);
    assert.ok(opened.state === "opened");
    return Object.assign(opened.held, { isPresent: opened.isPresent });
  };
  const pass = async (ms: number) => {
    await clock.advance(ms);
    sessions.sweep(clock.monotonicMs());
  };
  return { sessions, open, held, pass, wills, ended };
}

const message = (topic: string): Message => ({
  ...{ topic, payload: Buffer.from("gone"), qos: 1, retain: false, from: "c" },
});
const will = (topic: string, delaySeconds = 0) => ({ message: message(topic), delaySeconds });

test("I12: a session that is kept belongs to its identity until it expires", async () => {
  const { open, held, pass, ended } = start();
  held("pump").close();
  assert.equal(open("pump", { owner: "b" }).state, "foreign");
  await pass(59_000);
  assert.equal(held("pump").isPresent, true);
  // It is connected: nothing expires.
  await pass(600_000);
  assert.deepEqual(ended, []);
  held("pump").close();
  await pass(61_000);
  assert.deepEqual(ended, ["pump"]);
  assert.equal(held("pump", { owner: "b" }).isPresent, false);
});

test("I5: one identity has a quarter of the sessions that are kept, all together have 1024; others still come in", () => {
  const { open, held } = start();
  for (let i = 0; i < 256; i++) held(`a${i}`).close();
  assert.equal(open("a256").state, "full");
  assert.equal(held("a0").isPresent, true, "what is kept already is not refused");
  assert.equal(open("clean", { expirySeconds: 0 }).state, "opened");
  for (const owner of ["b", "c", "d"])
    for (let i = 0; i < 256; i++) held(`${owner}${i}`, { owner }).close();
  assert.equal(open("e0", { owner: "e" }).state, "full");
  held("d0", { owner: "d", clean: true, expirySeconds: 0 }).close();
  assert.equal(open("e0", { owner: "e" }).state, "opened");
});

test("I5: a session that is not kept is no way around that: who comes again and wants it kept is counted", () => {
  const { sessions, open, held } = start();
  for (let i = 0; i < 300; i++) {
    held(`a${i}`, { expirySeconds: 0 });
    const again = open(`a${i}`);
    assert.equal(again.state, i < 256 ? "opened" : "full", `a${i}`);
    if (again.state === "opened") again.held.close();
  }
  assert.equal(sessions.size, 300, "who is refused stays connected as it was");
  held("a0", { expirySeconds: 0 });
  assert.equal(open("a256").state, "opened", "one that is not to be kept any more makes room");
  assert.equal(open("a0").state, "full", "and does not get it back");
});

test("a will is published at once, after its delay, or with its session; never after a goodbye or a return", async () => {
  const { held, pass, wills } = start();
  held("now", { will: will("now") }).close();
  assert.deepEqual(wills, ["now"]);
  held("later", { will: will("later", 10) }).close();
  held("returns", { will: will("returns", 10) }).close();
  held("short", { expirySeconds: 5, will: will("short", 3600) }).close();
  const polite = held("polite", { will: will("polite") });
  polite.forgetWill();
  polite.close();
  await pass(6_000);
  assert.deepEqual(wills, ["now", "short"]);
  held("returns");
  await pass(6_000);
  assert.deepEqual(wills, ["now", "short", "later"]);
  // Who takes over gets the session, and the connection before it was cut: its will is due.
  held("later", { will: will("taken over") });
  held("later");
  assert.deepEqual(wills, ["now", "short", "later", "taken over"]);
});
