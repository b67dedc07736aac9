/** A process that a bench starts, and the commands that it runs for the bench: one answer each. */
import { fork } from "node:child_process";
import { once } from "node:events";

type Command = (options: never) => Promise<unknown>;
export type CommandProcess<Commands> = Commands & AsyncDisposable & { readonly pid: number };

type Call = { readonly id: number; readonly name: string; readonly options?: object };
type Answer = { readonly id: number; readonly value?: unknown; readonly error?: string };

/** `path` is an entry that calls `serve`. */
export function startCommands<Commands>(
  path: string,
  names: readonly (keyof Commands & string)[],
): CommandProcess<Commands> {
  const child = fork(path, {
    execArgv: ["--disable-warning=ExperimentalWarning"],
    serialization: "advanced",
  });
  const waiting = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: Error) => void }
  >();
  let sent = 0;
  child.on("message", ({ id, value, error }: Answer) => {
    const one = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) one?.resolve(value as never);
    else one?.reject(new Error(error));
  });
  const over = once(child, "exit");
  child.once("exit", (code, signal) => {
    for (const { reject } of waiting.values())
      reject(new Error(`${path} ended with ${signal ?? code}`));
  });
  const call =
    (name: string) =>
    (options?: object): Promise<never> =>
      new Promise((resolve, reject) => {
        waiting.set(++sent, { resolve, reject });
        child.send({ id: sent, name, ...(options && { options }) } satisfies Call);
      });
  return {
    ...(Object.fromEntries(names.map((name) => [name, call(name)])) as Commands),
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await over;
    },
  };
}

/** In that process: runs what is asked for until the bench ends. */
export function serve<Commands extends Record<keyof Commands, Command>>(commands: Commands): void {
  process.on("message", ({ id, name, options }: Call) => {
    const run = commands[name as keyof Commands] as Command;
    run(options as never).then(
      (value) => process.send?.({ id, value }),
      (error: unknown) =>
        process.send?.({ id, error: error instanceof Error ? error.stack : String(error) }),
    );
  });
  process.once("disconnect", () => process.exit());
}
