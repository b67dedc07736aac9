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
