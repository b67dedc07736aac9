/** Units and settings of systemd, written below a folder of the test; nothing of this machine is touched. */
import { strict as assert } from "node:assert";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { followLog } from "../../src/cli/follow-log.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import {
  installService,
  isJournal,
  journalLine,
  renderService,
  servicePaths,
  uninstallService,
  type Service,
  type ServicePlace,
} from "../../src/runtime/systemd/index.ts";
import { waitFor } from "../support/wait.ts";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "skerry-unit-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function serviceFor(kind: "node" | "hub", place: Partial<ServicePlace>, dataDir: string): Service {
  return {
    kind,
    dataDir,
    command: [process.execPath, "/opt/my app/skerry.mjs", "up", "--data", dataDir],
    place: { name: "skerry", root: "", ...place },
    variables: { SKERRY_CELL: "shop", SKERRY_JOIN: 'a"b$c' },
  };
}

/** As systemctl would be called. */
function recorder(answers: Readonly<Record<string, number>> = {}) {
  const calls: string[] = [];
  const run = async (argv: readonly string[]) => {
    const call = argv.join(" ");
    calls.push(call);
    return { code: answers[call] ?? 0, said: "no such luck\n" };
  };
  return { calls, run, progress: () => undefined };
}

test("units of a node and a hub, of the machine and of a user, are what systemd reads without a word", (t) => {
  const dir = folder(t);
  for (const kind of ["node", "hub"] as const)
    for (const user of [false, true]) {
      const place = { name: `skerry-${kind}-${user}`, ...(user ? { userHome: dir } : {}) };
      const service = serviceFor(kind, place, join(dir, "data 100%"));
      // The program is looked up by the check.
      const command = [process.execPath, ...service.command.slice(1)];
      const path = join(dir, `${place.name}.service`);
      writeFileSync(path, renderService({ ...service, command }).unit);
      const { status, stderr, error } = spawnSync(
        "systemd-analyze",
        [...(user ? ["--user"] : []), "--recursive-errors=no", "verify", path],
        { encoding: "utf8", timeout: 60_000, env: { ...process.env, XDG_RUNTIME_DIR: dir } },
      );
      assert.equal(error, undefined, "mend it with: apt-get install systemd");
      assert.deepEqual([status, stderr], [0, ""], readFileSync(path, "utf8"));
    }
});

test("a node's unit leaves keeper and pods alone, and hides nothing from them; a hub's is confined", () => {
  const node = renderService(serviceFor("node", {}, "/d")).unit;
  for (const line of [
    "KillMode=process",
    "Delegate=yes",
    "OOMPolicy=continue",
    "Restart=always",
    "Type=exec",
    "RestartPreventExitStatus=0 2",
  ])
    assert.match(node, new RegExp(`^${line}$`, "m"));
  assert.doesNotMatch(
    node,
    /^(?:ProtectSystem|ProtectHome|Private|NoNewPrivileges|SystemCall|MemoryDeny|ProtectControlGroups|ProtectClock|Device|Restrict(?!Prevent)[A-Z]|UMask)/m,
  );
  const hub = renderService(serviceFor("hub", {}, "/d")).unit;
  assert.match(hub, /^ProtectSystem=strict\nReadWritePaths=\/d$/m);
  assert.match(hub, /^KillMode=mixed$/m);
});

test("paths are quoted for systemd, settings for its EnvironmentFile; control characters are refused", () => {
  const { unit, settings } = renderService(serviceFor("node", {}, '/a "b" 5% $HOME'));
  assert.match(unit, /--data "\/a \\"b\\" 5%% \$\$HOME"$/m);
  assert.match(unit, /^RequiresMountsFor="\/a \\"b\\" 5%% \$HOME"$/m);
  assert.match(settings, /^SKERRY_CELL="shop"\nSKERRY_JOIN="a\\"b\\\$c"$/m);
  assert.throws(() => renderService(serviceFor("node", {}, "/a\nExecStartPre=/bin/evil")), {
    code: "invalid-argument",
  });
});

test("into an image: written and enabled below its root, tokens for their owner only, nothing started", async (t) => {
  const root = folder(t);
  const service = serviceFor("node", { root }, "/var/lib/skerry");
  const { unitFile, settingsFile } = servicePaths(service.place);
  const deps = { ...recorder(), booted: false };
  await installService(service, deps);
  assert.deepEqual(deps.calls, [`systemctl --root ${root} enable skerry.service`]);
  assert.equal(unitFile, join(root, "etc/systemd/system/skerry.service"));
  assert.equal(statSync(settingsFile).mode & 0o777, 0o600);
  assert.doesNotMatch(
    readFileSync(unitFile, "utf8"),
    /a"b/,
    "no token in a file that all may read",
  );
  // Again, without settings: those of before stay.
  await installService({ ...service, variables: {} }, deps);
  assert.match(readFileSync(settingsFile, "utf8"), /SKERRY_CELL="shop"/);
  await assert.rejects(installService({ ...service, dataDir: "/srv/other" }, deps), {
    code: "unit-foreign",
    message: /exists and is not for \/srv\/other/,
  });
  assert.equal(await uninstallService(service.place, deps), true);
  assert.deepEqual([existsSync(unitFile), existsSync(settingsFile)], [false, false]);
  assert.equal(await uninstallService(service.place, deps), false);
});

test("on a machine: reloaded, enabled, started; without systemd nothing is written; its refusal is told", async (t) => {
  const userHome = folder(t);
  const service = serviceFor("node", { userHome }, "/d");
  const { unitFile } = servicePaths(service.place);
  await assert.rejects(installService(service, { ...recorder(), booted: false }), {
    code: "systemd-missing",
  });
  assert.equal(existsSync(unitFile), false);
  const good = { ...recorder(), booted: true };
  await installService(service, good);
  await uninstallService(service.place, good);
  assert.deepEqual(
    good.calls,
    ["daemon-reload", "enable skerry.service", "restart skerry.service"]
      .concat("disable --now skerry.service", "daemon-reload")
      .map((call) => `systemctl --user ${call}`),
  );
  const bad = { ...recorder({ "systemctl --user enable skerry.service": 1 }), booted: true };
  await assert.rejects(installService(service, bad), {
    code: "systemctl-failed",
    message: "systemctl --user enable skerry.service ended with 1: no such luck",
  });
});

test("the journal is known by its stream, and gets level and fields in its own form", (t) => {
  const fd = openSync(join(folder(t), "stream"), "w");
  t.after(() => closeSync(fd));
  const { dev, ino } = fstatSync(fd);
  assert.equal(isJournal(fd, { JOURNAL_STREAM: `${dev}:${ino}` }), true);
  assert.equal(isJournal(fd, { JOURNAL_STREAM: `${dev}:${ino + 1}` }), false);
  assert.equal(isJournal(fd, {}), false);
  assert.equal(
    journalLine('{"level":"warn","time":"2026","agent":"n1","ms":5,"what":"a b","message":"slow"}'),
    '<4>slow agent=n1 ms=5 what="a b"',
  );
  assert.equal(journalLine("Error: out of words"), "<3>Error: out of words");
  assert.equal(journalLine("12"), "<3>12");
});

test("a log is followed from its end, into the file that replaces it", async (t) => {
  const path = join(folder(t), "agent.log");
  writeFileSync(path, "before\n");
  const controller = new AbortController();
  const lines: string[] = [];
  const following = followLog(path, {
    clock: systemClock,
    signal: controller.signal,
    onLine: (line) => lines.push(line),
  });
  appendFileSync(path, "one\ntw");
  await waitFor(() => lines.length === 1, { what: "the first line", timeoutMs: 30_000 });
  appendFileSync(path, "o\n");
  await waitFor(() => lines.length === 2, { what: "the second", timeoutMs: 30_000 });
  renameSync(path, `${path}.1`);
  writeFileSync(path, "three\n");
  await waitFor(() => lines.length === 3, { what: "the third", timeoutMs: 30_000 });
  appendFileSync(path, "four\n");
  controller.abort();
  await following;
  assert.deepEqual(
    lines,
    ["one", "two", "three", "four"],
    "what was written before the end is told",
  );
});
