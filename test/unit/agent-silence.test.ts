/** What membership says of nodes, as those who talk to servers hear it. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { createSilence } from "../../src/agent/silence.ts";

const server = (node: string, host: string) => ({ node, host, ports: { api: 7443 } });

test("R13: a server is silent by its address, all are when the last one is, and changes are told once", () => {
  let servers = [server("n1", "10.0.0.1"), server("n2", "10.0.0.2")];
  const silence = createSilence(() => servers);
  const told: boolean[] = [];
  const forget = silence.onChange(() => told.push(silence.all));

  silence.tell("n1", true);
  silence.tell("n1", true);
  assert.equal(silence.isSilent({ host: "10.0.0.1", port: 7443 }), true);
  assert.equal(silence.isSilent({ host: "10.0.0.1", port: 7444 }), false);
  assert.equal(silence.isSilent({ host: "10.0.0.2", port: 7443 }), false);
  silence.tell("n2", true);
  silence.tell("n1", false);
  assert.deepEqual(told, [false, true, false]);

  forget();
  silence.tell("n1", true);
  assert.equal(told.length, 3);
  servers = [];
  assert.equal(silence.all, false, "no server known is not every server silent");
});
