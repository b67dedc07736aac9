/** Writes entries and documents from several clients at once, and says how it went. Argument: a folder. */
import { join } from "node:path";
import { openDocuments, put } from "./documents.ts";
import { entry, range, telemetry } from "./data.ts";
import { openStreamStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";

const [folder = "", clients = "0", each = "0"] = process.argv.slice(2);
const streams = openStreamStore(
  { clock: systemClock, random: systemRandom, log: silentLog },
  { path: join(folder, "streams.db"), node: "n1" },
);
await streams.setStreams([telemetry]);
const documents = await openDocuments(join(folder, "documents.db"));
// So that what follows is writing alone.
process.stdout.write("ready\n");
process.stdin.once("data", () => void write());

async function write() {
  const states: string[] = [];
  const client = async (name: string) => {
    for (const n of range(1, Number(each))) {
      const entries = [entry(n, { producer: name })];
      const answers = [streams.append(entries), documents.write([put(`${name}-${n}`, { n })])];
      for (const { state } of await Promise.all(answers)) states.push(state);
    }
  };
  await Promise.all(range(1, Number(clients)).map((n) => client(`p${n}`)));
  process.stdout.write(`${JSON.stringify(states)}\n`);
  process.exit(0);
}
