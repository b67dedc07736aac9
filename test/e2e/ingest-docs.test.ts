/** docs/ingest.md from its first line to its last, by a shell against a real site. */
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { startTestSite, type TestSite } from "../support/site.ts";

const root = resolve(import.meta.dirname, "../..");
const subnet = 154;
let site: TestSite;

before(async () => {
  site = await startTestSite({ name: "ingest", subnet, nodes: 2 });
});
after(async () => {
  assert.deepEqual(await site.close(), []);
});

type Step = { readonly commands: string; readonly printed: string };

/** Commands, each with what the page says that they print; programs are written to where they are looked for. */
function stepsOf(page: string, folder: string): Step[] {
  const blocks = [...page.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language, text = ""]) => ({
    language,
    text,
  }));
  for (const { language, text } of blocks) {
    const [, name] = /^\/\/ (\S+\.mjs)$/m.exec(text) ?? [];
    if (language === "js" && name !== undefined) writeFileSync(join(folder, name), text);
  }
  return blocks.flatMap(({ language, text }, index) => {
    if (language !== "sh") return [];
    const next = blocks[index + 1];
    return [{ commands: text, printed: next?.language === "" ? next.text : "" }];
  });
}

/**
 * What one run prints like another: without times, names of logs, and the padding of tables; and
 * without what this site refuses of its nodes' own telemetry, for which the demo has a stream.
 */
const comparable = (printed: string) =>
  printed
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME")
    .replaceAll(/\bn\d\.[a-z0-9]{14}\b/g, "ORIGIN")
    .replaceAll(/\t| {2,}/g, " ")
    .trim()
    .split("\n")
    .filter((line) => !/^\d+ TIME host telemetry /.test(line))
    .map((line) => line.replace(/^\d+ (?=TIME mqtt)/, "NUMBER "));

/** Until both nodes know a stream that was declared at a server: a moment, which a reader takes anyway. */
const untilKnown = `until_known() {
  for node in 11 12; do
    for try in $(seq 200); do
      curl -sf -H "authorization: Bearer $TOKEN" http://127.0.0.$node:7480/v1/streams | grep -qF '"'"$1"'"' && continue 2
      sleep 0.05
    done
    echo "n$node does not know the stream $1" >&2
    return 1
  done
}`;
const declaredBy = (commands: string) =>
  [...commands.matchAll(/^kind: Stream\nmetadata:\n {2}name: (\S+)$/gm)].map(([, name]) => name);

/** All of it in one shell; what each step printed. */
async function runSteps(steps: readonly Step[], folder: string): Promise<string[]> {
  const mark = "--- end of a step ---";
  const launcher = join(root, "bin/skerry.mjs");
  const script = [
    "set -euo pipefail",
    `npx() { if [ "$1" = skerry ]; then shift; node ${launcher} "$@"; else "$@"; fi; }`,
    untilKnown,
    ...steps.flatMap(({ commands }) => [
      commands,
      ...declaredBy(commands).map((stream) => `until_known ${stream}`),
      `echo '${mark}'`,
    ]),
  ]
    .join("\n")
    .replaceAll(/\b127\.0\.0\.(?=1\d\b|\$node)/g, `127.0.${subnet}.`)
    .replaceAll(".skerry/demo/", `${site.dir}/`);
  const shell = spawn("bash", ["-c", script], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: `${join(root, "node_modules/.bin")}:${process.env["PATH"]}`,
      HOME: folder,
      KUBECONFIG: join(site.dir, "kubeconfig"),
      SKERRY_DATA: site.dataDir("n1"),
    },
  });
  const timer = setTimeout(() => shell.kill("SIGKILL"), 90_000);
  let [stdout, stderr] = ["", ""];
  shell.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  shell.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise((done) => shell.once("close", done));
  clearTimeout(timer);
  const printed = stdout.split(`${mark}\n`);
  assert.equal(code, 0, `${steps[printed.length - 1]?.commands}${printed.at(-1)}${stderr}`);
  return printed.slice(0, -1);
}

test("every command of docs/ingest.md does what the page says", async () => {
  const folder = join(site.dir, "reader");
  mkdirSync(folder);
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const steps = stepsOf(readFileSync(join(root, "docs/ingest.md"), "utf8"), folder);
  const printed = await runSteps(steps, folder);
  assert.equal(printed.length, steps.length);
  let compared = 0;
  for (const [index, { commands, printed: told }] of steps.entries()) {
    if (told === "") continue;
    compared++;
    assert.deepEqual(comparable(printed[index] ?? ""), comparable(told), commands);
  }
  assert.equal(compared, 7);
});
