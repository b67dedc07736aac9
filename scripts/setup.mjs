// All set-up for `npm start` and `npm test`; plain JavaScript that runs on Node 20. What it does:
//   start [flags]   npm ci and `npm run build` when needed, then `skerry demo [flags]` as an installed
//                   package runs it; needs neither root nor Debian packages
//   test [files]    the same, then Debian's packages for the tests, then `npm run check` and the tests
//   install         only npm ci
// Progress goes to standard error, so that `--json` output stays clean.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "node_modules");
const node24 = join(modules, "node", "bin", "node");
const say = (text) => process.stderr.write(`setup: ${text}\n`);

function fail(text, hint) {
  say(text);
  if (hint) say(`mend it with: ${hint}`);
  process.exit(2);
}

/** What the tests need beyond npm: the command that must exist, and Debian's package that brings it. */
const testTools = [
  { command: "kubectl", package: "kubernetes-client" },
  { command: "cc", package: "gcc libc6-dev" },
  { command: "ip", package: "iproute2" },
  { command: "iptables", package: "iptables" },
  { command: "arping", package: "iputils-arping" },
  { command: "etcd", package: "etcd-server" },
  { command: "etcdctl", package: "etcd-client" },
  { command: "faketime", package: "faketime" },
  { command: "systemd-analyze", package: "systemd" },
  { command: "postgres", package: "postgresql" },
  { command: "haproxy", package: "haproxy" },
  { command: "softhsm2-util", package: "softhsm2" },
  { command: "pkcs11-tool", package: "opensc" },
];

/** Debian keeps PostgreSQL's programs out of the PATH, one folder a version; 15 or newer is needed. */
function postgresFolders() {
  const root = "/usr/lib/postgresql";
  return (existsSync(root) ? readdirSync(root) : [])
    .filter((version) => Number(version) >= 15)
    .map((version) => join(root, version, "bin"))
    .join(":");
}

function hasCommand(command) {
  const path = `${process.env.PATH ?? ""}:/usr/sbin:/sbin:${postgresFolders()}`;
  return path.split(":").some((folder) => folder !== "" && existsSync(join(folder, command)));
}

function installModules() {
  const major = Number(process.versions.node.split(".")[0]);
  if (major < 20)
    fail(
      `Node 20 or newer is needed, this is ${process.versions.node}`,
      "apt-get install nodejs npm, or see https://nodejs.org",
    );
  const stamp = join(modules, ".skerry-setup");
  const wanted = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted && existsSync(node24)) return;
  say("installing npm packages (about half a minute the first time) …");
  const installed = spawnSync("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (installed.status !== 0) fail("npm ci failed; its words stand above", "npm ci");
  // Newer npm versions may refuse install scripts; this one only unpacks the Node 24 binary.
  if (!existsSync(node24)) {
    spawnSync(process.execPath, ["installArchSpecificPackage.js"], {
      cwd: join(modules, "node"),
      stdio: ["ignore", 2, 2],
    });
  }
  const version = spawnSync(node24, ["--version"], { encoding: "utf8" });
  if (version.status !== 0)
    fail(
      "the npm package node@24 brought no working Node 24 for this machine",
      "install Node 24 and run again",
    );
  mkdirSync(modules, { recursive: true });
  writeFileSync(stamp, wanted);
  say(`ready with Node ${version.stdout.trim()}`);
}

function installTools() {
  const missing = testTools
    .filter(({ command }) => !hasCommand(command))
    .map((tool) => tool.package);
  if (missing.length === 0) return;
  const line = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  if (process.getuid?.() !== 0)
    fail(
      `the tests need ${missing.join(", ")}, and only root can install them`,
      `sudo sh -c '${line}'`,
    );
  say(`installing Debian packages: ${missing.join(" ")} …`);
  const install = (command) => {
    const { status } = spawnSync("sh", ["-c", command], {
      stdio: ["ignore", 2, 2],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    });
    if (status !== 0) fail("apt-get failed; its words stand above", line);
  };
  if (missing.includes("postgresql")) withoutMainCluster(install, () => install(line));
  else install(line);
  // Debian's package starts a member of its own; the tests want the binary only.
  if (missing.includes("etcd-server") && existsSync("/run/systemd/system"))
    spawnSync("systemctl", ["disable", "--now", "etcd.service"], { stdio: ["ignore", 2, 2] });
}

/** Debian's package would make a database and start it; the tests want the programs only. */
function withoutMainCluster(install, work) {
  const path = "/etc/postgresql-common/createcluster.conf";
  if (!existsSync(path))
    install("apt-get update && apt-get install -y --no-install-recommends postgresql-common");
  const found = readFileSync(path, "utf8");
  writeFileSync(path, `${found}\ncreate_main_cluster = false\n`);
  try {
    work();
  } finally {
    writeFileSync(path, found);
  }
}

/** A node that runs from src/ weighs twice as much, and starts half as fast. */
function build() {
  const changedMs = (path) => statSync(join(root, path)).mtimeMs;
  const sources = readdirSync(join(root, "src"), { recursive: true }).map((name) => `src/${name}`);
  const newestMs = Math.max(
    ...[...sources, "scripts/bundle.mjs", "scripts/build.mjs", "package-lock.json"].map(changedMs),
  );
  const built = join("dist", "cli", "main.entry.js");
  if (existsSync(join(root, built)) && changedMs(built) >= newestMs) return;
  say("building dist/ …");
  const { status } = spawnSync(node24, [join(root, "scripts", "build.mjs")], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (status !== 0) fail("the build failed; its words stand above", "npm ci");
}

function runAndExit(command, args, environment = {}) {
  const path = `${join(modules, ".bin")}:${process.env.PATH ?? ""}:/usr/sbin:/sbin`;
  const child = spawn(command, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...environment, PATH: path },
  });
  // Ctrl-C reaches the whole process group; the child drains and decides when it is over.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}

const [what, ...rest] = process.argv.slice(2);
switch (what) {
  case "install":
    installModules();
    break;
  case "start":
    installModules();
    build();
    runAndExit(node24, [join(root, "bin", "skerry.mjs"), "demo", ...rest], { SKERRY_DIST: "1" });
    break;
  case "test":
    installModules();
    installTools();
    runAndExit(node24, [join(root, "scripts", "test.mjs"), ...rest]);
    break;
  default:
    fail(`unknown set-up "${what ?? ""}"`, "node scripts/setup.mjs start|test|install");
}
