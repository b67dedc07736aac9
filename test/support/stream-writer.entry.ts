/**
 * A node's store of streams, told by lines what to append: `STREAM COUNT`. It prints how each append
 * went, and how many entries readings have lost for want of room. Argument: a folder.
 */
import { join } from "node:path";
import { createInterface } from "node:readline";
import { openStreamStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { openBallast } from "../../src/runtime/sqlite/index.ts";
import { encodeError } from "../../src/lib/errors.ts";
import { padded, range } from "./data.ts";

const [folder = ""] = process.argv.slice(2);
const ballast = openBallast(join(folder, "ballast"));
while (ballast.grow(ballast.pieceBytes));
const store = openStreamStore(
  { clock: systemClock, random: systemRandom, log: silentLog },
  { path: join(folder, "streams.db"), node: "n1", ballast },
);
await store.setStreams([
  { name: "readings", retention: { whenFull: "drop" } },
  { name: "alarms", retention: {}, priority: 10 },
]);
process.stdout.write("ready\n");
let sent = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const [stream = "", count = "0"] = line.split(" ");
  const entries = padded(stream, range(sent + 1, (sent += Number(count))));
  const went = await store.append(entries).then(
    (answer) => (answer.state === "stored" ? "stored" : answer.code),
    (error: unknown) => encodeError(error).code,
  );
  const lost = (await store.status()).streams.find(({ name }) => name === "readings");
  process.stdout.write(`${went} ${lost?.droppedWhenFull ?? 0}\n`);
}
await store.close();
