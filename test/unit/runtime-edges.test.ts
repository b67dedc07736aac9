/** Where the process meets people and machines: configuration, logs, HTTP, listeners, processes. */
import { strict as assert } from "node:assert";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { z } from "zod";
import { SkerryError } from "../../src/lib/errors.ts";
import { silentLog, type LogFields } from "../../src/lib/log.ts";
import { onGrid, systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { exited } from "../../src/runtime/child/index.ts";
import { loadConfig } from "../../src/runtime/config/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { listenOn } from "../../src/runtime/listen/index.ts";
import { createLog } from "../../src/runtime/log/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { probeHttp, probeTcp } from "../../src/runtime/probe/index.ts";
import { identifyProcess, isAlive, ownProcess } from "../../src/runtime/process/index.ts";
import { waitFor } from "../support/wait.ts";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "skerry-test-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const schema = z.strictObject({
  dataDir: z.string(),
  port: z.coerce.number().int().min(0).max(65_535).default(7443),
  level: z.enum(["info", "debug"]).default("info"),
});

test("configuration: flags over environment over file over defaults", (t) => {
  const path = join(folder(t), "skerry.yaml");
  writeFileSync(path, "dataDir: /from/file\nport: 1\nlevel: debug\n");
  const env = {
    SKERRY_DATA_DIR: "/from/env",
    SKERRY_PORT: "2",
    SKERRY_LEVEL: undefined,
    PATH: "x",
  };
  const config = loadConfig(schema, { path, env, flags: { port: "3", level: undefined } });
  assert.deepEqual(config, { dataDir: "/from/env", port: 3, level: "debug" });
  assert.equal(loadConfig(schema, { flags: { dataDir: "/d" } }).port, 7443);
});

test("configuration: a wrong value is named with its field, origin and what is known", (t) => {
  const path = join(folder(t), "skerry.yaml");
  const messageOf = (sources: Parameters<typeof loadConfig>[1]) => {
    try {
      loadConfig(schema, sources);
    } catch (error) {
      assert.ok(error instanceof SkerryError && error.code === "invalid-config", String(error));
      return `${error.message} | ${error.hint}`;
    }
    assert.fail("was accepted");
  };
  const flags = { dataDir: "/d" };
  assert.match(
    messageOf({ flags, env: { SKERRY_PORT: "99999" } }),
    /^port: .*65535.*got "99999" from SKERRY_PORT/,
  );
  assert.match(
    messageOf({ flags: { ...flags, level: "loud" } }),
    /^level: .*"info"\|"debug".*got "loud" from --level/,
  );
  assert.match(messageOf({}), /^dataDir: .*known fields: dataDir, port, level/);
  writeFileSync(path, "dataDir: /d\nprot: 1\n");
  const at = (line: number) => `^${RegExp.escape(path)}:${line}: `;
  assert.match(
    messageOf({ path }),
    new RegExp(`${at(2)}prot: unknown, did you mean port\\?.*known fields: dataDir, port, level`),
  );
  for (const [content, message] of [
    ["- a list\n", new RegExp(`${at(1)}expected fields and values`)],
    ["port: 1\na: [unclosed", new RegExp(`${at(2)}this is not YAML`)],
    ["port: 1\nport: 2\n", new RegExp(`${at(2)}.*unique`)],
    [
      "# ours\n\nport: many\nlevel: loud\ndata-dir: /d\n",
      new RegExp(`${at(5)}data-dir: unknown, did you mean dataDir\\?.*:3: port: .*:4: level: `),
    ],
  ] as const) {
    writeFileSync(path, content);
    assert.match(messageOf({ path }), message);
  }
  assert.throws(() => loadConfig(schema, { path: `${path}.absent` }), { code: "file-unreadable" });
  writeFileSync(path, "");
  assert.equal(loadConfig(schema, { path, flags }).level, "info");
});

test("HTTP: every failure has one shape, and what is inside goes to the log only", async (t) => {
  const logged: LogFields[] = [];
  const log = {
    ...silentLog,
    error: (_: string, fields?: LogFields) => void logged.push(fields ?? {}),
  };
  const app = createHttpApp({ bodyBytesMax: 100, log });
  t.after(() => app.close());
  const failing =
    (code: string, retryable = false) =>
    () => {
      throw new SkerryError({ code, message: `it is ${code}`, hint: "do something", retryable });
    };
  app.get("/invalid", failing("invalid-size"));
  app.get("/busy", failing("store-busy", true));
  app.get("/later", failing("ledger-unavailable", true));
  app.get("/broken", failing("storage-failed"));
  app.get("/secret", () => {
    throw new Error("password=hunter2");
  });
  app.post("/body", () => ({ ok: true }));

  const get = async (url: string) => {
    const reply = await app.inject({ method: "GET", url });
    return { status: reply.statusCode, ...reply.json<{ error: Record<string, unknown> }>() };
  };
  assert.deepEqual(await get("/invalid"), {
    status: 400,
    error: {
      code: "invalid-size",
      message: "it is invalid-size",
      hint: "do something",
      retryable: false,
    },
  });
  assert.equal((await get("/busy")).status, 429);
  assert.equal((await get("/later")).status, 503);
  assert.equal((await get("/broken")).status, 500);
  const secret = await get("/secret");
  assert.deepEqual([secret.status, secret.error["code"]], [500, "internal"]);
  assert.ok(!JSON.stringify(secret).includes("hunter2"));
  assert.match(String(logged.at(-1)?.["error"]), /password=hunter2/);
  assert.equal(logged.length, 2);
  assert.deepEqual(
    [(await get("/absent")).status, (await get("/absent")).error["code"]],
    [404, "route-unknown"],
  );

  const post = async (payload: string, type = "application/json") => {
    const reply = await app.inject({
      method: "POST",
      url: "/body",
      payload,
      headers: { "content-type": type },
    });
    return [reply.statusCode, reply.json<{ error?: { code: string } }>().error?.code];
  };
  assert.deepEqual(await post("{}"), [200, undefined]);
  assert.deepEqual(await post("{"), [400, "invalid-request"]);
  assert.deepEqual(await post("x".repeat(101)), [413, "body-too-large"]);
  assert.deepEqual(await post("x", "text/strange"), [415, "invalid-content-type"]);
});

test("log: JSON lines with level, fields and errors down to their causes", async (t) => {
  const path = join(folder(t), "logs", "agent.log");
  const log = createLog({ path, level: "info", fields: { node: "n1" } });
  log.debug("not written");
  log.child({ room: "data" }).warn("slow", { tookMs: 7 });
  const cause = new Error("ENOSPC");
  log.error("failed", {
    error: new SkerryError({ code: "disk-full", message: "full", hint: "free", cause }),
  });
  log.error("bug", { error: new TypeError("undefined is no function") });
  const lines = await waitFor(
    () => {
      const all = readFileSync(path, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      return all.length === 3 && all;
    },
    { what: "three lines" },
  );
  assert.partialDeepStrictEqual(lines[0], {
    level: "warn",
    node: "n1",
    room: "data",
    message: "slow",
    tookMs: 7,
  });
  assert.partialDeepStrictEqual(lines[1], {
    error: { code: "disk-full", hint: "free", cause: { message: "ENOSPC" } },
  });
  assert.match(lines[2].error.stack, /runtime-edges\.test\.ts/);
});

/** Runs a few lines in a process of their own. */
function run(code: string) {
  const source = `import { createLog } from ${JSON.stringify(new URL("../../src/runtime/log/index.ts", import.meta.url).href)};\n${code}`;
  return spawnSync(process.execPath, ["--input-type=module-typescript", "-e", source], {
    encoding: "utf8",
    timeout: 30_000,
  });
}

test("log: lines said just before a crash or an exit are written", (t) => {
  for (const [end, status] of [
    ["throw new Error('crash')", 1],
    ["process.exit(3)", 3],
    ["", 0],
  ] as const) {
    const path = join(folder(t), "agent.log");
    const result = run(
      `const log = createLog({ path: ${JSON.stringify(path)} });
       for (let i = 0; i < 100; i++) log.info("line", { i });
       ${end}`,
    );
    assert.equal(result.status, status, result.stderr);
    const seen = new Set(
      readFileSync(path, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).i),
    );
    assert.equal(seen.size, 100, end);
    if (status === 3) assert.equal(result.stderr, "");
  }
  assert.match(
    run(`createLog().info("to standard error"); process.exit(0)`).stderr,
    /to standard error/,
  );
});

test("log: a full disk costs lines and nothing else", () => {
  const result = run(
    `const log = createLog({ path: "/dev/full" });
     for (let i = 0; i < 100; i++) log.info("line", { i });
     setTimeout(() => { log.info("again"); console.log("alive"); }, 50);`,
  );
  assert.deepEqual([result.status, result.stdout.trim(), result.stderr], [0, "alive", ""]);
});

test("log: a file that grew large is begun anew, once", async (t) => {
  const path = join(folder(t), "agent.log");
  const log = createLog({ path, fileBytesMax: 100_000 });
  const text = "x".repeat(1000);
  // Its size is looked at between two writes: lines that wait for a slow disk are all one write.
  for (let i = 0; i < 700; i++) {
    log.info(text, { i });
    if (i % 50 !== 49) continue;
    await waitFor(() => readFileSync(path, "utf8").includes(`"i":${i}`), {
      what: `line ${i} in the file`,
      timeoutMs: 30_000,
    });
  }
  assert.ok(existsSync(`${path}.1`));
  assert.ok(readFileSync(path).byteLength < 700_000);
});

test("clock and random of the host: monotonic, within bounds, interruptible", async () => {
  const before = systemClock.monotonicMs();
  await systemClock.sleep(5);
  assert.ok(systemClock.monotonicMs() > before);
  const stop = new AbortController();
  const sleeping = systemClock.sleep(2 ** 40, { signal: stop.signal });
  stop.abort(new Error("enough"));
  await assert.rejects(sleeping, /enough/);
  systemClock.after(2 ** 40, () => assert.fail("a far timer must not fire at once")).cancel();
  for (let i = 0; i < 1000; i++) {
    const n = systemRandom.integer(10);
    assert.ok(Number.isInteger(n) && n >= 0 && n < 10);
    const f = systemRandom.float();
    assert.ok(f >= 0 && f < 1);
  }
});

test("clock of the host: periodic work of one process comes to fall together, never later than its period", () => {
  for (const periodMs of [0, 1, 200, 250, 300, 1000, 1500, 5000, 600_000])
    for (let nowMs = 12_345.6; nowMs < 15_000; nowMs += 77.7) {
      const waitMs = onGrid(nowMs, periodMs);
      assert.ok(
        waitMs >= periodMs / 2 && waitMs <= periodMs * 1.05 + 50,
        `${nowMs} ${periodMs}: ${waitMs}`,
      );
    }
  for (const early of [0, 0.9])
    for (const startMs of [100, 217.3, 340, 999]) {
      let nowMs = startMs;
      for (let turn = 0; turn < 6; turn++) nowMs += onGrid(nowMs, 250) - early;
      assert.ok((nowMs + early) % 250 < 1 || (nowMs + early) % 250 > 249, `${startMs}: ${nowMs}`);
    }
  // Slow work is not put off to a later beat.
  assert.equal(onGrid(1160, 300), 150);
});

test("listeners: a taken port and a foreign address are told apart", async (t) => {
  const server = createServer();
  t.after(() => server.close());
  const { port } = await listenOn(server, { host: "127.0.0.1", port: 0, what: "API" });
  assert.ok(port > 0);
  await assert.rejects(listenOn(createServer(), { host: "127.0.0.1", port, what: "mesh" }), {
    code: "port-in-use",
    message: `mesh: another process listens on 127.0.0.1:${port}`,
  });
  await assert.rejects(listenOn(createServer(), { host: "192.0.2.1", port: 0, what: "mesh" }), {
    code: "cannot-listen",
  });
});

test("probes: an answer from 200 to 399 and an accepted connection are well, all else is said", async (t) => {
  const app = createHttpApp();
  t.after(() => app.close());
  app.get("/ok", (request) => ({ host: request.headers["x-probe"] }));
  app.get("/moved", (_, reply) => reply.redirect("/elsewhere"));
  app.get("/bad", (_, reply) => reply.code(500).send());
  app.get("/hangs", () => new Promise(() => {}));
  await app.listen({ host: "127.0.0.1", port: 0 });
  const [address] = app.addresses();
  const port = typeof address === "object" ? address.port : 0;
  const probe = (path: string, timeoutMs = 5000) =>
    probeHttp({ scheme: "HTTP", host: "127.0.0.1", port, path }, { timeoutMs });
  assert.equal((await probe("/ok")).ok, true);
  assert.equal((await probe("/moved")).ok, true);
  assert.match((await probe("/bad")).message, /HTTP status 500/);
  assert.match((await probe("/hangs", 50)).message, /no answer within 50 ms/);
  assert.equal((await probeTcp({ host: "127.0.0.1", port }, { timeoutMs: 5000 })).ok, true);
  await app.close();
  assert.match((await probe("/ok")).message, /ECONNREFUSED/);
  assert.match(
    (await probeTcp({ host: "127.0.0.1", port }, { timeoutMs: 5000 })).message,
    /ECONNREFUSED/,
  );
});

test("processes: known by boot and start time, gone when they are gone", async () => {
  const own = ownProcess();
  assert.equal(isAlive(own), true);
  assert.equal(isAlive({ ...own, startTicks: own.startTicks + 1 }), false);
  assert.equal(isAlive({ ...own, bootId: "another boot" }), false);
  const child = spawn("sleep", ["60"]);
  const identity = identifyProcess(child.pid ?? 0);
  assert.ok(identity && isAlive(identity));
  child.kill("SIGKILL");
  await exited(child);
  assert.equal(isAlive(identity), false);
});

test("metrics: a registry of one's own, in the text format", async () => {
  const metrics = createMetrics({ node: "n1" });
  metrics.counter("skerry_test_total", "Tests.", ["kind"]).inc({ kind: "a" }, 2);
  metrics.histogram("skerry_test_seconds", "Time.", [0.1, 1]).observe(0.5);
  metrics.gauge("skerry_test_depth", "Depth.").set(3);
  const text = await metrics.render();
  assert.match(text, /skerry_test_total\{kind="a",node="n1"\} 2/);
  assert.match(text, /skerry_test_seconds_bucket\{le="1",node="n1"\} 1/);
  assert.equal(createMetrics().contentType, metrics.contentType);
});
