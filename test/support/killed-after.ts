/** A writer in a process of its own that prints what was acknowledged, killed in the middle of it. */
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { join } from "node:path";

/** The last number that the writer acknowledged before it was killed. */
export async function killedAfter(
  entry: "data-writer" | "documents-writer",
  options: { path: string; first: number; acknowledgements: number; mode?: string },
): Promise<number> {
  const { path, first, acknowledgements, mode } = options;
  const entryPath = join(import.meta.dirname, `${entry}.entry.ts`);
  const child = spawn(process.execPath, [entryPath, path, String(first), ...(mode ? [mode] : [])], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  let lines = 0;
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (chunk: string) => {
    text += chunk;
    lines += chunk.split("\n").length - 1;
    if (lines >= acknowledgements) child.kill("SIGKILL");
  });
  const [, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once("close", (...end) => resolve(end));
  });
  assert.equal(signal, "SIGKILL");
  const whole = text.slice(0, text.lastIndexOf("\n")).split("\n");
  return Number(whole.at(-1));
}
