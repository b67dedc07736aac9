/** Runs commands that come over the channel to the parent process, one answer each. */
import type { Commands } from "./protocol.ts";

type Call = { readonly id: number; readonly name: keyof Commands; readonly options: never };

export function serve(commands: Commands): void {
  process.on("message", ({ id, name, options }: Call) => {
    const run = commands[name] as (options: never) => Promise<unknown>;
    run(options).then(
      (value) => process.send?.({ id, value }),
      (error: unknown) =>
        process.send?.({ id, error: error instanceof Error ? error.stack : String(error) }),
    );
  });
  process.once("disconnect", () => process.exit());
}

/** Work for `from` to `to` in requests of `size`, `loops` of them at a time. */
export async function inBatches(
  { from, to, size, loops }: { from: number; to: number; size: number; loops: number },
  work: (from: number, to: number) => Promise<unknown>,
): Promise<void> {
  let next = from;
  const loop = async () => {
    while (next < to) {
      const start = next;
      next = Math.min(to, start + size);
      await work(start, next);
    }
  };
  await Promise.all(Array.from({ length: loops }, loop));
}
