/** How a tail begins, against a node that is played. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { followLines } from "../../src/client/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { waitFor } from "../support/wait.ts";

const lost = () =>
  new SkerryError({ code: "not-answering", message: "nothing answers", retryable: true });
const line = (id: number) => `{"cursor":"a.${id}","body":{}}`;
const page = (entries: readonly string[], cursor: string) =>
  `{"entries":[${entries.join(",")}],"cursor":"${cursor}","more":false}`;

test("a beginning that is cut before anything came is asked for again; one that is gone when its lines are asked for ends where it was seen", async () => {
  const clock = createSimulatedClock();
  const look = "?from=5&newest=3&limit=1&format=json";
  const answers = [
    { to: look, text: page([line(6)], "a.6") },
    { to: "?from=5&newest=3", text: undefined },
    { to: look, text: page([line(7)], "a.7") },
    { to: "?from=5&newest=3", text: "" },
    { to: "?from=5&after=a.7&follow=1", text: `${line(9)}\n` },
    { to: "?from=5&after=a.9&follow=1", text: `\n${line(10)}\n` },
  ];
  const asked: string[] = [];
  const control = new AbortController();
  const call = async (path: string) => {
    asked.push(path);
    const text = answers[asked.length - 1]?.text;
    if (text === undefined) throw lost();
    return new Response(text);
  };
  const options = { newest: 3, range: { from: 5 }, signal: control.signal };
  const told: string[] = [];
  const tail = (async () => {
    for await (const { text } of followLines({ call, clock }, "", options)) told.push(text);
  })();
  await waitFor(
    async () => {
      await clock.advance(1000);
      return told.length === 2;
    },
    { what: "what came" },
  );
  control.abort();
  await tail;
  assert.deepEqual(told, [line(9), line(10)]);
  assert.deepEqual(
    asked.slice(0, answers.length),
    answers.map(({ to }) => to),
  );
  assert.equal(clock.pending, 0);
});
