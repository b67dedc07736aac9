/** A child that ends with its test, and what it has said so far. */
import { spawn, type ChildProcess } from "node:child_process";
import type { TestContext } from "node:test";

export function startChild(
  argv: readonly string[],
  t: TestContext,
): ChildProcess & { text(): string } {
  const [file = "", ...args] = argv;
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  let text = "";
  child.stdout?.on("data", (chunk: Buffer) => (text += chunk.toString()));
  return Object.assign(child, { text: () => text });
}
