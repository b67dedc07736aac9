/** What the documents say is held against the source. */
import { strict as assert } from "node:assert";
import { globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";

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
