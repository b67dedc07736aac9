/** What the power-cut drill concludes of a folder: nothing where nothing was cut, and what is not there. */
import { strict as assert } from "node:assert";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { groupsPart } from "../../src/drill/simulated/power-cut/groups.ts";
import { mqttPart } from "../../src/drill/simulated/power-cut/mqtt.ts";
import type { Part } from "../../src/drill/simulated/power-cut/part.ts";
import { powerFolder } from "../support/power-cut.ts";

const folderUrl = new URL("../../src/drill/simulated/power-cut/", import.meta.url);
/** Parts write until their process ends, and close nothing. */
const script = `
  const [file, name, folder, enough] = process.argv.slice(1);
  const said = [];
  await (await import(file))[name].write({
    ...{ folder, life: 1, random: { integer: (below) => said.length % below } },
    more: () => said.length < Number(enough),
    acknowledge: (value) => void said.push(value),
  });
  process.stdout.write(JSON.stringify(said), () => process.exit(0));`;

/** Writes until so much was acknowledged; then what the check says, with and without each of `ghosts`. */
async function judge(
  part: Part,
  { file, name, enough }: { file: string; name: string; enough: number },
  ghosts: readonly unknown[],
): Promise<string[][]> {
  using folder = powerFolder();
  const { href } = new URL(file, folderUrl);
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ["--input-type=module", "-e", script, href, name, folder.path, String(enough)],
    { encoding: "utf8", timeout: 60_000 },
  );
  assert.notEqual(stdout, "", stderr);
  const said = JSON.parse(stdout) as unknown[];
  assert.ok(said.length >= enough);
  const complaints = [await part.check(folder.path, said)];
  for (const ghost of ghosts) complaints.push(await part.check(folder.path, [...said, ghost]));
  return complaints;
}

test("I18: sessions of MQTT that were applied, and ended, are there and gone; a version that is not is told", async () => {
  const ghosts = [
    { session: 99, version: 3 },
    { session: 1_000_001, version: 4 },
  ];
  const [none, lost, behind] = await judge(
    mqttPart,
    { file: "mqtt.ts", name: "mqttPart", enough: 60 },
    ghosts,
  );
  assert.deepEqual(none, []);
  assert.match(lost?.join() ?? "", /session 99 is at undefined, applied was 3/);
  // That one ended.
  assert.match(behind?.join() ?? "", /session 1000001 is at undefined, applied was 4/);
});

test("C1, C3: orders have one bill each; an order, or a bill, that is not there is told", async () => {
  const [none, order, bill] = await judge(
    groupsPart,
    { file: "groups.ts", name: "groupsPart", enough: 40 },
    [{ stored: "x" }, { done: "y" }],
  );
  assert.deepEqual(none, []);
  assert.deepEqual(order, ["acknowledged order x is lost"]);
  assert.deepEqual(bill, ["the bill of y is lost"]);
});
