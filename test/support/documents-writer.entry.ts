/**
 * A process that writes as fast as it can and prints each acknowledged number, to be killed in the
 * middle of it. Arguments: path of the store, first number.
 */
import { openDocuments, put, write } from "./documents.ts";

const [path = "", first = "1"] = process.argv.slice(2);
const store = await openDocuments(path);
for (let n = Number(first); ; n += 2) {
  // Two requests in one commit; each a batch that must stay whole.
  await Promise.all(
    [n, n + 1].map((each) =>
      write(store, put(`left-${each}`, { stock: each }), {
        collection: "items",
        id: "tally",
        do: "change",
        changes: [
          { change: "increment", path: "/stock", by: 1 },
          { change: "add", path: "/tags", value: each },
        ],
      }),
    ),
  );
  process.stdout.write(`${n + 1}\n`);
}
