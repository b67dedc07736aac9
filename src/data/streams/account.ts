/** What was sent to the hub today, as a text in the file of what is sent. */
import type { Database, Writer } from "../../runtime/sqlite/index.ts";
import type { StreamStore } from "./store.ts";

const name = "hub_account";

export function createAccount(db: Database, writer: Writer): StreamStore["account"] {
  const select = db.prepare("SELECT value FROM meta WHERE name = ?");
  const upsert = db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)");
  return {
    async read() {
      const value = select.get(name)?.["value"];
      return typeof value === "string" ? value : undefined;
    },
    write: (account) => writer.write(() => void upsert.run(name, account)),
  };
}
