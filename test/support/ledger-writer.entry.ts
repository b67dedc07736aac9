/** Writes to a ledger as fast as it can and says on standard output what was acknowledged. */
import { writeSync } from "node:fs";
import { bytes, openTestLedger } from "./ledger.ts";

const [path = "", from = "0"] = process.argv.slice(2);
const ledger = openTestLedger({ path });
let next = Number(from);

const client = async () => {
  for (;;) {
    const key = `k/${next++}`;
    const outcome = await ledger.transact(
      [{ key, modRevision: 0 }],
      [
        { type: "put", key, value: bytes(key) },
        { type: "put", key: `${key}/twin`, value: bytes(key) },
      ],
    );
    if (outcome.state === "done") writeSync(1, `${key} ${outcome.revision}\n`);
  }
};
await Promise.all(Array.from({ length: 16 }, client));
