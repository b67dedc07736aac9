/**
 * A process that appends as fast as it can and prints each acknowledged sequence, to be killed in the
 * middle of it. Arguments: path of the store, first sequence, and "sealing" to seal all the while.
 */
import { openStreamStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { entry, telemetry } from "./data.ts";

const [path = "", first = "1", mode] = process.argv.slice(2);
const store = openStreamStore(
  { clock: systemClock, random: systemRandom, log: silentLog },
  {
    path,
    node: "n1",
    ...(mode === "sealing" && { sealing: { entriesMax: 4, tailEntries: 2, periodMs: 0 } }),
  },
);
await store.setStreams([telemetry]);
let hasBegun = mode !== "sealing";
for (let sequence = Number(first); ; sequence += 2) {
  const answers = await Promise.all([
    store.append([entry(sequence)]),
    store.append([entry(sequence + 1)]),
  ]);
  if (answers.some(({ state }) => state !== "stored")) throw new Error(JSON.stringify(answers));
  // What is counted begins when something was sealed: before, a kill would not come amid sealing.
  hasBegun ||= (await store.status()).streams.some(({ sealed }) => sealed > 0);
  if (!hasBegun) continue;
  process.stdout.write(`${sequence + 1}\n`);
}
