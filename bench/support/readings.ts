/** Bodies of entries for benches: about 150 bytes of JSON each. */
import { seededRandom } from "../../src/lib/random.ts";

/** Readings that differ as real ones do: what does not compress is not to look as if it did. */
export function readings({ count, producers }: { count: number; producers: number }): Buffer[] {
  const random = seededRandom(7);
  let [cpu, memory] = [20, 123_456_789];
  return Array.from({ length: count }, (_, index) => {
    cpu += random.float() - 0.5;
    memory += Math.floor((random.float() - 0.5) * 1e6);
    return Buffer.from(
      JSON.stringify({
        cpu: Number(cpu.toFixed(2)),
        memory,
        disk: { read: random.integer(50), write: random.integer(80) },
        host: `press-${index % producers}`,
        state: "running",
        celsius: Number((21 + random.float()).toFixed(2)),
      }),
    );
  });
}
