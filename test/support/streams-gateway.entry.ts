/**
 * A process with a store of streams and its routes, to be killed: groups, reading, and appending as
 * JSON lines. Arguments: path of the store, port. Prints its URL.
 */
import { createGroupRoutes, createStreamRoutes, openStreamStore } from "../../src/data/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import { createHttpApp } from "../../src/runtime/http/index.ts";
import { diary, telemetry } from "./data.ts";

const [path = "", port = "0"] = process.argv.slice(2);
const store = openStreamStore(
  { clock: systemClock, random: systemRandom, log: silentLog },
  { path, node: "n1", sealing: { entriesMax: 20, tailEntries: 10, periodMs: 5 } },
);
const plain = ["scales", "totals"].map((name) => ({ name, retention: {} }));
await store.setStreams([telemetry, diary, ...plain]);
const app = createHttpApp();
createStreamRoutes(store, { clock: systemClock })(app);
createGroupRoutes(store, { clock: systemClock })(app);
app.post<{ Body: { stream?: string; first: number; count: number } }>("/fill", async ({ body }) =>
  store.append(
    Array.from({ length: body.count }, (_, index) => ({
      stream: body.stream ?? "telemetry",
      key: { producer: "p1", epoch: 1, sequence: body.first + index },
      body: Buffer.from(JSON.stringify({ n: body.first + index, grams: 10 })),
    })),
  ),
);
process.stdout.write(`${await app.listen({ host: "127.0.0.1", port: Number(port) })}\n`);
