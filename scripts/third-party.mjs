// The licences of what is bundled, as they ask for.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Of esbuild's input files, each package once with the text of its licence. */
export function thirdParty(root, inputs) {
  const filesByFolder = Map.groupBy(
    inputs,
    (input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0],
  );
  filesByFolder.delete(undefined);
  const parts = [...filesByFolder.keys()].sort().map((folder) => {
    const path = join(root, folder);
    const { name, version, license, author } = JSON.parse(
      readFileSync(join(path, "package.json"), "utf8"),
    );
    const texts = readdirSync(path)
      .filter((file) => /^(?:licen[cs]e|notice|copying)(?:\.\w+)?$/i.test(file))
      .map((file) => readFileSync(join(path, file), "utf8").trim());
    // A few say it at the top of their files, or name their licence in package.json and that is all.
    const heads = filesByFolder.get(folder).map((file) => head(join(root, file)));
    const by = `By ${author?.name ?? author ?? `the authors of ${name}`}.`;
    const said = [...texts, ...(texts.length === 0 ? heads : [])].filter((text) => text !== "");
    return [`${name} ${version}, ${license}`, ...new Set(said.length > 0 ? said : [by])].join(
      "\n\n",
    );
  });
  return `The files beside this one contain these packages.\n\n${parts.join(`\n\n${"-".repeat(80)}\n\n`)}\n`;
}

/** The comment that a file begins with, where it is about rights. */
function head(path) {
  const comment = /^(?:\s*(?:\/\/.*\n|\/\*[^]*?\*\/))+/.exec(readFileSync(path, "utf8"))?.[0] ?? "";
  return /copyright/i.test(comment) ? comment.trim() : "";
}
