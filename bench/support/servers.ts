/** Programs that a bench starts beside Skerry; none outlives it. */
import { spawn } from "node:child_process";
import { connect } from "node:net";

const startMs = 10_000;

const started = new Set<() => void>();
process.once("exit", () => {
  for (const kill of started) kill();
});

/** Starts a program and waits until it listens; disposing kills it at once. */
export async function startServer(
  program: string,
  args: readonly string[],
  at: { host: string; port: number },
): Promise<AsyncDisposable> {
  // Detached: a Ctrl-C in the terminal is the bench's to obey, which stops them in its own order.
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  const kill = () => void child.kill("SIGKILL");
  started.add(kill);
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (said = (said + text).slice(-4000)));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const untilMs = performance.now() + startMs;
  while (!(await answers(at))) {
    if (child.exitCode !== null || performance.now() > untilMs) {
      kill();
      throw new Error(`${program} did not start: ${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    async [Symbol.asyncDispose]() {
      // What it holds is thrown away, so that nobody waits for it to be written.
      kill();
      await ended;
      started.delete(kill);
    },
  };
}

function answers(at: { host: string; port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(at);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
