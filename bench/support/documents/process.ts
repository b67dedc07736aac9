/** A process that holds a store, driven from the bench. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Commands } from "./protocol.ts";

export type StoreProcess = Commands & AsyncDisposable & { readonly pid: number };

type Answer = { readonly id: number; readonly value?: unknown; readonly error?: string };

export function startStore(file: string): StoreProcess {
  const child = fork(join(import.meta.dirname, file), {
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
      reject(new Error(`${file} ended with ${signal ?? code}`));
  });
  const call =
    (name: keyof Commands) =>
    (options?: object): Promise<never> =>
      new Promise((resolve, reject) => {
        waiting.set(++sent, { resolve, reject });
        child.send({ id: sent, name, options });
      });
  return {
    pid: child.pid ?? 0,
    open: call("open"),
    writeMany: call("writeMany"),
    writeOne: call("writeOne"),
    read: call("read"),
    replicate: call("replicate"),
    count: call("count"),
    close: call("close"),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await over;
    },
  };
}
