/** The thread that holds the connection of a `SyncPostgres`. */
import { workerData } from "node:worker_threads";
import { encodeError, SkerryError } from "../../lib/errors.ts";
import { connect, type Connection } from "./connect.ts";
import type { Row } from "./driver.ts";
import { stateOf } from "./failures.ts";
import type { SyncReply, SyncRequest, SyncThreadData } from "./sync.ts";

const { address, application, setup, port, replies } = workerData as SyncThreadData;
let connection: Connection | undefined;
const nameByText = new Map<string, string>();

/** Statements with values are prepared once a session. */
const nameOf = (text: string): string => {
  const name = nameByText.get(text) ?? `s${nameByText.size}`;
  nameByText.set(text, name);
  return name;
};

async function run({ statements, connect: mayConnect }: Extract<SyncRequest, { type: "run" }>) {
  if (!connection?.isOpen) {
    if (!mayConnect && connection)
      throw new SkerryError({
        code: "database-unreachable",
        message: "the connection to PostgreSQL was lost in the middle of a transaction",
        hint: "nothing of it was stored; it is tried again",
        retryable: true,
      });
    connection = await connect(address, application);
    await connection.script(setup);
  }
  const { query, script } = connection;
  let rows: readonly Row[] = [];
  for (const { text, values } of statements) {
    rows = values
      ? await query(text, values, { name: nameOf(text) })
      : ((await script(text)).at(-1) ?? []);
  }
  return rows;
}

/** What PostgreSQL cannot hold as it is, and states that only who runs a transaction could tell apart. */
function told(error: unknown): unknown {
  const state = stateOf(error);
  if (error instanceof SkerryError || !/^[0-9A-Z]{5}$/.test(state)) return error;
  const isData = state.startsWith("22");
  return new SkerryError({
    code: isData ? "invalid-batch" : "database-failed",
    message: `PostgreSQL refused a statement (${state}): ${(error as Error).message}`,
    hint: isData
      ? "nothing of it was stored; the sender runs another version, or is not what it says it is"
      : "the server's log says more; nothing of this was stored",
    retryable: !isData,
    cause: error,
  });
}

port.on("message", async (request: SyncRequest) => {
  if (request.type === "discard") {
    connection?.destroy();
    return;
  }
  let reply: SyncReply;
  try {
    reply = { id: request.id, type: "done", rows: await run(request) };
  } catch (error) {
    reply = { id: request.id, type: "failed", error: encodeError(told(error)) };
  }
  port.postMessage(reply);
  Atomics.add(replies, 0, 1);
  Atomics.notify(replies, 0);
});
