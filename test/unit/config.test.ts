/** One vocabulary for flags, environment, yaml and documentation; where a value comes from; what will not work here. */
import { strict as assert } from "node:assert";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test, type TestContext } from "node:test";
import { Command } from "commander";
import {
  agentConfigKeys,
  agentConfigSchema,
  examineNodeConfig,
  type AgentConfig,
} from "../../src/agent/index.ts";
import { nodeRecordPath, resolveNodeRecord, writeNodeRecord } from "../../src/agent/config.ts";
import { examineHubConfig, hubConfigKeys, hubConfigSchema } from "../../src/hub/index.ts";
import { addConfigFlags, readGiven, strayVariables } from "../../src/cli/config-source.ts";
import { createContext } from "../../src/cli/context.ts";
import { registerCommands } from "../../src/cli/commands/index.ts";
import { nearestNames } from "../../src/lib/nearest.ts";
import { environmentName, flagOf, type ConfigKeys } from "../../src/runtime/config/index.ts";
import { writeRecord } from "../../src/runtime/files/index.ts";
import { whyNotListen } from "../../src/runtime/listen/index.ts";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "skerry-config-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** All ports free ones, so that nothing of this machine is in the way. */
const freePorts: Partial<AgentConfig> = {
  apiPort: 0,
  meshPort: 0,
  peersPort: 0,
  gatewayPort: 0,
  mqttPort: 0,
  ingressPort: 0,
};

const contextWith = (env: Record<string, string>, cwd = "/nowhere") => ({
  ...createContext(),
  env,
  cwd,
});

const readNode = (
  flags: Record<string, string>,
  env: Record<string, string> = {},
  cwd = "/nowhere",
) => readGiven(agentConfigSchema, agentConfigKeys, flags, contextWith(env, cwd));

test("docs/configuration.md has each key with its flag, variable, value, default and meaning, and no other", () => {
  const text = readFileSync(resolve(import.meta.dirname, "../../docs/configuration.md"), "utf8");
  const rowsOf = (title: string) =>
    (text.split(`## ${title}\n`)[1]?.split("\n## ")[0] ?? "")
      .split("\n")
      .filter((line) => line.startsWith("| `"))
      .map((line) => line.split("|").map((cell) => cell.trim().replaceAll("`", "")));
  const expected = (keys: ConfigKeys) =>
    Object.entries(keys).map(([field, key]) => [
      "",
      field,
      `--${flagOf(field, key)}`,
      environmentName(field, key),
      key.takes.replaceAll("|", " or "),
      key.default ?? "",
      key.kept ? "yes" : "",
      key.text.replaceAll("`", ""),
      "",
    ]);
  assert.deepEqual(rowsOf("Keys of a node"), expected(agentConfigKeys));
  assert.deepEqual(rowsOf("Keys of a hub"), expected(hubConfigKeys));
  for (const name of ["SKERRY_CONFIG", "SKERRY_DATA", "SKERRY_DEBUG"])
    assert.match(text, new RegExp(`^\\| \`${name}\``, "m"));
});

test("every key is a flag of its command under the name that the table says", async () => {
  const program = new Command("skerry");
  await registerCommands(program, createContext());
  for (const [name, keys] of [
    ["up", agentConfigKeys],
    ["hub", hubConfigKeys],
  ] as const) {
    const flags = program.commands.find((one) => one.name() === name)?.options ?? [];
    const missing = Object.entries<ConfigKeys[string]>(keys)
      .map(([field, key]) => `--${flagOf(field, key)}`)
      .filter((flag) => !flags.some(({ long }) => long === flag));
    assert.deepEqual(missing, []);
  }
  assert.deepEqual(Object.keys(agentConfigKeys), Object.keys(agentConfigSchema.shape));
  assert.deepEqual(Object.keys(hubConfigKeys), Object.keys(hubConfigSchema.shape));
});

test("flags win over environment, environment over yaml, yaml over what is kept, that over defaults", async (t) => {
  const dataDir = folder(t);
  const first = { dataDir, cell: "shop", node: "n1", host: "127.0.0.1", ...freePorts };
  writeNodeRecord(dataDir, resolveNodeRecord({ ...first, evict: "eager" }, undefined));
  const path = join(folder(t), "skerry.yaml");
  writeFileSync(path, "# ours\nlogLevel: warn\ntelemetry: true\nhub: a:1\n");
  const given = readNode(
    { data: dataDir, config: path, telemetry: "false" },
    { SKERRY_TELEMETRY: "true", SKERRY_LOG_LEVEL: "error", SKERRY_HUB: "", SKERRY_JOIN: "skt1.x" },
  );
  await assert.rejects(
    examineNodeConfig({ ...given, config: { ...given.config, server: "a:1" } }),
    { code: "invalid-token" },
  );
  const { join: _, ...config } = given.config;
  const { values, warnings } = await examineNodeConfig({
    ...given,
    config: { ...config, hubToken: "sky1.secret" },
    originByField: { ...given.originByField, hubToken: "SKERRY_HUB_TOKEN" },
  });
  const byKey = Object.fromEntries(values.map(({ key, value, from }) => [key, [value, from]]));
  assert.deepEqual(
    ["dataDir", "telemetry", "logLevel", "hub", "evict", "node", "apiPort", "hubToken"].map(
      (key) => [key, ...(byKey[key] ?? [])],
    ),
    [
      ["dataDir", dataDir, "--data"],
      ["telemetry", false, "--telemetry"],
      ["logLevel", "error", "SKERRY_LOG_LEVEL"],
      ["hub", "a:1", `${path}:4`],
      ["evict", "eager", nodeRecordPath(dataDir)],
      ["node", "n1", nodeRecordPath(dataDir)],
      ["apiPort", 0, nodeRecordPath(dataDir)],
      ["hubToken", "********", "SKERRY_HUB_TOKEN"],
    ],
  );
  assert.doesNotMatch(JSON.stringify(values), /sky1/);
  assert.deepEqual(warnings, []);
  const fresh = await examineNodeConfig(
    readNode({ data: join(dataDir, "new"), cell: "c", node: "n", host: "127.0.0.1" }),
  );
  assert.deepEqual(
    fresh.values.find(({ key }) => key === "evict"),
    { key: "evict", value: "careful", from: "default" },
  );
});

test("the data folder: flag, SKERRY_DATA, yaml beside itself, then its default; its own skerry.yaml is found", (t) => {
  const home = folder(t);
  const path = join(home, "site.yaml");
  writeFileSync(path, "dataDir: data\nnode: from-file\n");
  assert.equal(readNode({ config: path }).config.dataDir, join(home, "data"));
  assert.equal(readNode({}, { SKERRY_CONFIG: path }).config.dataDir, join(home, "data"));
  const env = { SKERRY_DATA: "other" };
  assert.equal(readNode({ config: path }, env, home).config.dataDir, join(home, "other"));
  assert.equal(readNode({ config: path, data: "/d" }, env).config.dataDir, "/d");
  assert.equal(readNode({}).config.dataDir, "/var/lib/skerry");
  mkdirSync(join(home, "data"));
  writeFileSync(join(home, "data", "skerry.yaml"), "node: own\n");
  assert.equal(readNode({ data: "data" }, {}, home).config.node, "own");
});

test("what is no port, switch or name in yaml is refused, not turned into one", (t) => {
  const path = join(folder(t), "skerry.yaml");
  for (const [line, words] of [
    ["apiPort: true", /:1: apiPort: expected a port from 0 to 65535, got true$/],
    ["apiPort:", /:1: apiPort: expected a port from 0 to 65535, got null$/],
    ["apiPort: ''", /:1: apiPort: expected a port/],
    ["apiPort: 1.5", /:1: apiPort: expected a port/],
    ["apiPort: [7443]", /:1: apiPort: expected a port.*got \[7443\]$/],
    ["telemetry: yes", /:1: telemetry: expected true or false, got "yes"$/],
    ["node: 12", /:1: node: expected lower-case letters.*as text, got 12$/],
    ["hub: hub.example", /:1: hub: expected HOST:PORT, got "hub.example"$/],
    ["logLevel: loud", /:1: logLevel: expected debug, info, warn or error, got "loud"$/],
    ["hubToken: [a]", /:1: hubToken: expected text, got a secret$/],
    ["name: hq", /:1: name: unknown/],
  ] as const) {
    writeFileSync(path, `${line}\n`);
    assert.throws(() => readNode({ data: "/d", config: path }), {
      code: "invalid-config",
      message: words,
    });
  }
});

test("warned of: ports taken over TCP and UDP, foreign addresses, folders that are of others or none, misspelt variables", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  t.after(() => taken.close());
  await new Promise((done) => taken.once("listening", done));
  const { port } = taken.address() as { port: number };
  const dataDir = folder(t);
  const warningsOf = async (config: Partial<AgentConfig>) =>
    (
      await examineNodeConfig({
        config: { dataDir, cell: "shop", node: "n1", ...freePorts, ...config },
        originByField: {},
      })
    ).warnings;
  assert.deepEqual(await warningsOf({}), []);
  assert.match((await warningsOf({ apiPort: port })).join(), /^apiPort: another process listens/);
  assert.match((await warningsOf({ host: "192.0.2.1" })).join(), /^host: cannot listen/);
  assert.match(
    String(await whyNotListen({ host: "192.0.2.1", port: 0, protocol: "udp", what: "beats" })),
    /^beats: cannot listen/,
  );
  const file = join(dataDir, "file");
  writeFileSync(file, "");
  await assert.rejects(warningsOf({ dataDir: join(file, "below") }), {
    code: "invalid-config",
    message: /^dataDir: .*below was given, but .*file is no folder$/,
  });
  writeNodeRecord(
    dataDir,
    resolveNodeRecord({ dataDir, cell: "shop", node: "n9", ...freePorts }, undefined),
  );
  const before = readdirSync(dataDir);
  assert.match(
    (await warningsOf({})).join(),
    /^node: "n1" was given, but .* belongs to node "n9"$/,
  );
  const hub = await examineHubConfig({ config: { dataDir, port: 0 }, originByField: {} });
  assert.match(hub.warnings.join(), /belongs to a node/);
  assert.deepEqual(readdirSync(dataDir), before, "looking changes nothing");
  const env = { SKERRY_API_PROT: "1", SKERRY_DATA: "/d", SKERRY_GATEWAY: "x" };
  assert.deepEqual(strayVariables(agentConfigKeys, contextWith(env)), [
    "SKERRY_API_PROT is read by nobody; did you mean SKERRY_API_PORT?",
  ]);
});

test("two listeners on one port, and a folder of a later format, are refused", (t) => {
  const dataDir = folder(t);
  const config = { dataDir, cell: "shop", node: "n1" };
  assert.throws(() => resolveNodeRecord({ ...config, meshPort: 8080 }, undefined), {
    code: "invalid-config",
    message: "ingressPort: 8080 is meshPort as well",
  });
  const record = resolveNodeRecord(config, undefined);
  writeRecord(nodeRecordPath(dataDir), { format: 2, ...record, colour: "red" });
  return assert.rejects(examineNodeConfig({ config, originByField: {} }), {
    code: "data-newer",
    message: /node\.json was written by a newer Skerry \(data format 2, this version knows 1\)/,
  });
});

test("a name is suggested when it is near, and only then", () => {
  const names = ["apiPort", "meshPort", "host"];
  assert.deepEqual(nearestNames("apiPrt", names), ["apiPort"]);
  assert.deepEqual(nearestNames("colour", names), []);
  assert.deepEqual(nearestNames("x".repeat(200), names), []);
  const flags = addConfigFlags(new Command(), agentConfigKeys).options;
  assert.equal(flags.length, Object.keys(agentConfigKeys).length + 1, "a flag a key, and --config");
});
