/** What `skerry token create --app` says of how long its token is good. */
import { strict as assert } from "node:assert";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { registerToken } from "../../src/cli/commands/token.ts";
import { spiffeId, verifyAppToken } from "../../src/identity/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { writeRecord } from "../../src/runtime/files/index.ts";
import { dayMs, temporaryAuthority, temporaryFolder, testNowMs } from "../support/identity.ts";

const domain = "shop.skerry";
const cell = await temporaryAuthority(domain, { nowMs: testNowMs });

/** The command in a folder with the identity of a node that joined today. */
async function create(...args: string[]) {
  using folder = temporaryFolder();
  const credentials = await cell.issueCredentials(spiffeId(domain, "node", "n1"));
  mkdirSync(join(folder.path, "identity"));
  writeRecord(join(folder.path, "identity", "node.json"), {
    ...{ version: 1, node: "n1", addresses: [], trust: cell.trust },
    ...{ identity: credentials, serving: credentials },
  });
  const [lines, notes]: [string[], string[]] = [[], []];
  const program = new Command();
  registerToken(program, {
    output: {
      isTerminal: false,
      line: (text) => void lines.push(text),
      note: (text) => void notes.push(text),
      progress() {},
      endProgress() {},
    },
    env: {},
    cwd: folder.path,
    clock: createSimulatedClock({ wallMs: testNowMs }),
    random: seededRandom(1),
    stop: () => new AbortController().signal,
  });
  await program.parseAsync(["token", "create", "--app", "scale-4", ...args, "--data", "."], {
    from: "user",
  });
  return { out: lines.join("\n"), notes: notes.join("\n") };
}

const day = (days: number) => new Date(testNowMs + days * dayMs).toISOString();

test("a token that ends with the node's certificate says so, and until when it is good", async () => {
  const asked = await create("--ttl", "14d");
  assert.equal(asked.notes, `good until ${day(14)}`);
  const long = await create("--ttl", "90d");
  assert.ok(long.notes.startsWith(`good until ${day(30)}, not for 90d: `), long.notes);
  // Scripts read the token alone from standard output.
  const ends = (token: string) => verifyAppToken(token, cell.trust, testNowMs, 0);
  for (const { out } of [asked, long]) assert.ok(ends(out).ok);
  const { token, expiresAt } = JSON.parse((await create("--ttl", "90d", "--json")).out) as {
    token: string;
    expiresAt: string;
  };
  const verdict = ends(token);
  assert.equal(verdict.ok && new Date(verdict.expiresAtMs).toISOString(), expiresAt);
  assert.equal(expiresAt, day(30));
});
