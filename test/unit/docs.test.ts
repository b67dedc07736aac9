/** What the documents say is held against the source. */
import { strict as assert } from "node:assert";
import { globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { parseAllDocuments } from "yaml";
import { checkObject, kindByObject, unknownFields, type KubeObject } from "../../src/api/index.ts";
import { registerCommands } from "../../src/cli/commands/index.ts";
import { createContext } from "../../src/cli/context.ts";

const root = resolve(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

test("docs/errors.md lists every error code of the source, and no other", () => {
  const inSource = new Set<string>();
  for (const path of globSync("src/**/*.ts", { cwd: root })) {
    // Union types of codes count as well as the places that throw.
    for (const [, code] of read(path).matchAll(/\bcode: "([a-z][a-z0-9-]+)"/g))
      inSource.add(code ?? "");
  }
  const inDocs = new Set(
    [...read("docs/errors.md").matchAll(/^\| `([a-z][a-z0-9-]+)` \|/gm)].map(
      (match) => match[1] ?? "",
    ),
  );
  assert.deepEqual(
    [...inSource].filter((code) => !inDocs.has(code)).sort(),
    [],
    "codes without a row in docs/errors.md",
  );
  assert.deepEqual(
    [...inDocs].filter((code) => !inSource.has(code)).sort(),
    [],
    "rows whose code nothing throws",
  );
});

const metricNames = (text: string) =>
  new Set([...text.matchAll(/\b(?:skerry|process)_[a-z_]+/g)].map(([name]) => name));

test("docs/metrics.md lists every metric of the source, and no other", () => {
  const inSource = new Set<string>();
  for (const path of globSync("src/**/*.ts", { cwd: root }))
    for (const [, name] of read(path).matchAll(/"((?:skerry|process)_[a-z_]+)"/g))
      inSource.add(name ?? "");
  const rows = [...read("docs/metrics.md").matchAll(/^\| `((?:skerry|process)_[a-z_]+)` \|/gm)];
  assert.deepEqual(rows.map(([, name]) => name ?? "").toSorted(), [...inSource].toSorted());
});

test("what dashboards and documents ask for is a metric that there is", () => {
  const known = metricNames(
    [...read("docs/metrics.md").matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name).join(" "),
  );
  const asked = metricNames(read("examples/grafana-dashboard.json") + read("docs/metrics.md"));
  const series = [...asked].map((name) => name.replace(/_(bucket|sum|count)$/, ""));
  assert.deepEqual(
    series.filter((name) => !known.has(name)),
    [],
  );
});

test("relative links in documents lead to files", () => {
  const broken: string[] = [];
  for (const path of globSync(["*.md", "docs/**/*.md", "src/**/*.md", "examples/**/*.md"], {
    cwd: root,
  })) {
    for (const [, target] of read(path).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)) {
      if (globSync(join(path, "..", target ?? ""), { cwd: root }).length === 0)
        broken.push(`${path}: ${target}`);
    }
  }
  assert.deepEqual(broken, []);
});

test("npm scripts named in documents exist", () => {
  const scripts = Object.keys(
    (JSON.parse(read("package.json")) as { scripts: Record<string, string> }).scripts,
  );
  const unknown = globSync(["*.md", "docs/**/*.md"], { cwd: root }).flatMap((path) =>
    [...read(path).matchAll(/\bnpm run ([a-z:]+)/g)]
      .map((match) => match[1] ?? "")
      .filter((script) => !scripts.includes(script)),
  );
  assert.deepEqual(unknown, []);
});

/** Where a reader finds a command line: code blocks, code spans, hints and examples of the command itself. */
function commandLines(path: string): string[] {
  const text = read(path).replaceAll(/\\\n\s*/g, " ");
  if (path.endsWith(".ts"))
    return [
      ...text.matchAll(
        /["`: ](?:npx )?skerry (?!command\b)([a-z][^"`\n\\)$;]*?)(?= {4}|["`\n\\)$;])/g,
      ),
    ].map(([, line]) => line ?? "");
  const blocks = [...text.matchAll(/^```\w*\n(.*?)^```/gms)].flatMap(([, block]) =>
    (block ?? "").split("\n"),
  );
  const spans = [...text.replaceAll(/^```.*?^```/gms, "").matchAll(/`([^`\n]+)`/g)].map(
    ([, span]) => span ?? "",
  );
  return [...blocks, ...spans].flatMap((line) =>
    [...line.matchAll(/(?:^|\(|npx |&& )skerry ([a-z][^)&#]*)/g)].map(([, found]) => found ?? ""),
  );
}

/** What is wrong with `drill quick --seed 7`, or undefined. */
function unknownPart(program: Command, line: string): string | undefined {
  let command = program;
  // One that has flags of its own runs without a command after it, too (`hub`, and `hub migrate`).
  const needsCommand = () =>
    command.commands.length > 0 && (command === program || command.options.length === 0);
  for (const word of line.split(/[\s,;.]+/).filter((part) => part !== "" && part !== "…")) {
    const sub = command.commands.find((one) => one.name() === word);
    if (sub) command = sub;
    else if (needsCommand() && !word.startsWith("-")) return `no command "${word}"`;
    else if (/^--?[a-z]/.test(word)) {
      const flag = word.split("=")[0] ?? "";
      const known = command.options.flatMap(({ long, short }) => [long, short]);
      if (![...known, "--help"].includes(flag)) return `"${command.name()}" has no ${flag}`;
    }
  }
  // A line that was cut at `${` may go on with one.
  return needsCommand() && !/--help|\s$/.test(line)
    ? `"${command.name()}" needs a command after it`
    : undefined;
}

test("skerry commands named in documents, examples, hints and help exist", async () => {
  const program = new Command("skerry");
  const context = createContext();
  await registerCommands(program, context);
  const found: string[] = [];
  const paths = ["*.md", "docs/**/*.md", "examples/*", "src/**/*.md", "src/**/*.ts"];
  for (const path of globSync(paths, { cwd: root })) {
    for (const line of commandLines(path)) {
      const problem = unknownPart(program, line);
      if (problem !== undefined) found.push(`${path}: skerry ${line.trim()}: ${problem}`);
    }
  }
  assert.deepEqual(found, []);
  assert.ok(commandLines("README.md").length > 10, "the test reads the README");
  assert.equal(unknownPart(program, "drill slow --seed 7"), 'no command "slow"');
  assert.equal(unknownPart(program, "status --dat x"), '"status" has no --dat');
});

test("manifests in documents and examples are valid objects of the cell", () => {
  const manifests = globSync("examples/*.yaml", { cwd: root }).map((path) => [path, read(path)]);
  for (const path of globSync(["*.md", "docs/**/*.md"], { cwd: root })) {
    for (const [, manifest] of read(path).matchAll(/<<'EOF'\n(.*?)^EOF$/gms))
      manifests.push([path, manifest ?? ""]);
  }
  for (const [path = "", text = ""] of manifests) {
    for (const document of parseAllDocuments(text)) {
      const object = document.toJS() as KubeObject;
      const kind = kindByObject(object.apiVersion ?? "", object.kind ?? "");
      assert.ok(kind, `${path}: ${object.apiVersion} ${object.kind}`);
      assert.deepEqual(unknownFields(kind, object), [], path);
      const checked = checkObject(kind, object);
      assert.ok(checked.ok, `${path}: ${JSON.stringify(checked)}`);
    }
  }
  assert.ok(manifests.some(([path]) => path === "README.md"));
});
