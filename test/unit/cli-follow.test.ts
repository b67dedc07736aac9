/** Commands that follow, against hubs that are played. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createContext } from "../../src/cli/context.ts";
import { followEntries } from "../../src/cli/entry-lines.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { waitFor } from "../support/wait.ts";

/** `answers`: what is written at once to each request, `silent` for not even a head. */
function following(answers: readonly ("silent" | string)[], options: { newest?: number } = {}) {
  const clock = createSimulatedClock();
  const control = new AbortController();
  const notes: string[] = [];
  const told: string[] = [];
  let asked = 0;
  const answer = async (_url: unknown, init: RequestInit = {}) => {
    const text = answers[asked++];
    if (text === undefined) throw new TypeError("fetch failed");
    if (text !== "silent") return new Response(text);
    return new Promise<Response>((_, reject) => {
      init.signal?.addEventListener("abort", () => reject(init.signal?.reason));
    });
  };
  const { output } = createContext();
  const api = { url: "http://127.0.0.1:1", fetch: answer as typeof fetch, close: async () => {} };
  const context = {
    clock,
    stop: () => control.signal,
    output: { ...output, note: (text: string) => void notes.push(text) },
  };
  const running = (async () => {
    const entries = followEntries(api, "/v1/changes", options, context);
    for await (const { text } of entries) told.push(text);
  })();
  let isOver = false;
  void running.catch(() => undefined).finally(() => (isOver = true));
  const ended = async () => {
    await waitFor(() => isOver, { what: "the command to end", timeoutMs: 5000 });
    await running;
  };
  return { clock, notes, told, ended, asked: () => asked, stop: () => control.abort() };
}

test("a hub that says nothing before there is an entry, as earlier versions do, is followed on, with a note", async () => {
  const line = '{"cursor":"a.1","body":{}}';
  const command = following(["silent", "silent", `${line}\n`]);
  await waitFor(() => command.asked() === 1, { what: "the question" });
  await command.clock.advance(44_999);
  assert.deepEqual(command.notes, []);
  await command.clock.advance(1);
  assert.deepEqual(command.notes, ["nothing was heard for 45 s; trying again until it answers"]);
  await command.clock.advance(60_000);
  await waitFor(() => command.asked() >= 3, { what: "it to be asked again" });
  await waitFor(() => command.told.length === 1, { what: "the entry" });
  assert.deepEqual(command.told, [line]);
  command.stop();
  await command.ended();
});

test("where nobody takes the connection, or says what is there, in the beginning, the command ends", async () => {
  const nobody = following([]);
  await assert.rejects(nobody.ended(), { code: "not-answering", message: /nothing answers at/ });
  const frozen = following(["silent"], { newest: 10 });
  await waitFor(() => frozen.asked() === 1, { what: "the question" });
  await frozen.clock.advance(45_000);
  await assert.rejects(frozen.ended(), { code: "not-answering", message: /nothing was heard/ });
  assert.deepEqual([nobody.notes, frozen.notes], [[], []]);
});
