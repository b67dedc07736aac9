/** `skerry data import` against a gateway that answers as told. */
import { strict as assert } from "node:assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { registerData } from "../../src/cli/commands/data.ts";
import { createContext } from "../../src/cli/context.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { writeInfo } from "../../src/runtime/local/index.ts";
import { temporaryFolder } from "../support/data.ts";
import { joined } from "../support/joined.ts";

test("rows that did not get as far as asked for are told, and it ends with 1", async (t) => {
  const folder = temporaryFolder();
  const dataDir = folder.path;
  await joined(dataDir);
  let isShort = true;
  const app = createHttpApp();
  app.addContentTypeParser("application/x-ndjson", { parseAs: "string" }, (_request, body, done) =>
    done(null, body),
  );
  app.post("/v1/streams/:name/entries", async (_request, reply) =>
    isShort
      ? reply.code(202).send({ reached: "local", asked: "peer(1)", stored: 2, duplicates: 0 })
      : { reached: "peer(1)", stored: 0, duplicates: 2 },
  );
  writeInfo(dataDir, "node", {
    ...{ node: "n1", gateway: await app.listen({ host: "127.0.0.1", port: 0 }) },
  });
  const codeBefore = process.exitCode;
  t.after(async () => {
    process.exitCode = codeBefore;
    await app.close();
    folder[Symbol.dispose]();
  });
  const file = join(dataDir, "readings.csv");
  writeFileSync(file, "grams\n1\n2\n");

  const run = async (...flags: readonly string[]) => {
    const lines: string[] = [];
    const program = new Command("skerry").exitOverride();
    const context = createContext();
    const output = { ...context.output, line: (text: string) => void lines.push(text) };
    registerData(program, { ...context, output });
    const words = ["data", "import", file, "--stream", "s", "--data", dataDir, ...flags];
    process.exitCode = undefined;
    await program.parseAsync(words, { from: "user" });
    return [lines.join("\n"), process.exitCode];
  };
  assert.deepEqual(await run(), [
    "2 rows into s: 2 stored, 0 were there already, 2 not as far as asked for: run it again",
    1,
  ]);
  const [text, code] = await run("--json");
  assert.deepEqual([JSON.parse(String(text)).short, code], [2, 1]);
  isShort = false;
  assert.deepEqual(await run(), ["2 rows into s: 0 stored, 2 were there already", undefined]);
});
