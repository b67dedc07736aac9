// One line a test file, the failures in full, and the counts at the end: for logs that people read.
import { relative } from "node:path";

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

export default async function* report(source) {
  const byFile = new Map();
  const failures = [];
  for await (const { type, data } of source) {
    if (type === "test:pass" || type === "test:fail") {
      // A suite or a file reports itself too; only tests count.
      if (data.details?.type === "suite" || data.name === data.file) continue;
      const file = relative(process.cwd(), data.file ?? "?");
      const tally = byFile.get(file) ?? { passed: 0, failed: 0, ms: 0 };
      byFile.set(file, tally);
      if (type === "test:pass") tally.passed++;
      else {
        tally.failed++;
        failures.push({ file, name: data.name, error: data.details?.error });
        yield `FAIL ${file}: ${data.name}\n${indent(data.details?.error)}\n`;
      }
      if (data.nesting === 0) tally.ms += data.details?.duration_ms ?? 0;
    } else if (type === "test:summary") {
      if (data.file !== undefined) {
        const file = relative(process.cwd(), data.file);
        const tally = byFile.get(file);
        yield `${tally?.failed ? "FAIL" : "ok  "} ${file}  ${tally?.passed ?? 0} tests, ${seconds(data.duration_ms)}\n`;
        continue;
      }
      const { passed, failed, cancelled, skipped } = data.counts;
      for (const { file, name } of failures) yield `failed: ${file}: ${name}\n`;
      yield `in ${seconds(data.duration_ms)}\n${passed} passed, ${failed + cancelled} failed, ${skipped} skipped\n`;
    }
  }
}

function indent(error) {
  return wordsOf(error?.cause ?? error)
    .split("\n")
    .map((line) => `    ${line}`)
    .join("\n");
}

/** What failed comes before what failed while it was cleaned up (`SuppressedError`). */
function wordsOf(error) {
  if (error?.suppressed !== undefined)
    return `${wordsOf(error.suppressed)}\nand while that was cleaned up:\n${wordsOf(error.error)}`;
  return error?.stack ?? String(error?.message ?? error ?? "no error given");
}
