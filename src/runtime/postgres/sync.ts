/**
 * One session with PostgreSQL for code that cannot wait by promises: statements go to a thread of the
 * session's own, and this one sleeps until they are answered (Atomics.wait). For a thread that does
 * nothing else; what another process holds locked holds it up.
 */
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { decodeError, SkerryError, type EncodedError } from "../../lib/errors.ts";
import { entryUrl } from "../child/index.ts";
import { placeOf, type PostgresAddress } from "./address.ts";
import type { Row } from "./driver.ts";

export type SyncStatement = { readonly text: string; readonly values?: readonly unknown[] };

export interface SyncPostgres {
  readonly place: string;
  /**
   * In one go, each after the one before; answers the rows of the last. `connect`: on a connection made
   * anew where the one before was lost, else losing it fails. Throws as `Session.query`, and
   * `database-unreachable` when nothing is answered for longer than a statement may take.
   */
  run(statements: readonly SyncStatement[], options?: { connect?: boolean }): readonly Row[];
  /** Drops the connection: the server undoes what was not committed. */
  discard(): void;
  close(): Promise<void>;
}

export type SyncRequest =
  | {
      readonly type: "run";
      readonly id: number;
      readonly connect: boolean;
      readonly statements: readonly SyncStatement[];
    }
  | { readonly type: "discard" };
export type SyncReply = { readonly id: number } & (
  | { readonly type: "done"; readonly rows: readonly Row[] }
  | { readonly type: "failed"; readonly error: EncodedError }
);
export type SyncThreadData = {
  readonly address: PostgresAddress;
  readonly application: string;
  readonly setup: string;
  readonly port: MessagePort;
  /** Counts replies. */
  readonly replies: Int32Array<SharedArrayBuffer>;
};
type MessagePort = InstanceType<typeof MessageChannel>["port1"];

/** Longer than a session's statement may take (60 s) and its connecting. */
const silenceMsMax = 90_000;

/** Does not connect: the first `run` does. */
export function openSyncPostgres(
  address: PostgresAddress,
  options: {
    /** Shown in pg_stat_activity. */
    application: string;
    /** Statements without values that every connection begins with. */
    setup: string;
  },
): SyncPostgres {
  const place = placeOf(address);
  const { port1: port, port2 } = new MessageChannel();
  const replies = new Int32Array(new SharedArrayBuffer(4));
  const data: SyncThreadData = { address, ...options, port: port2, replies };
  const worker = new Worker(entryUrl(import.meta.url, "./sync.entry"), {
    name: "postgres",
    workerData: data,
    transferList: [port2],
  });
  // What is wrong in it shows as an answer that does not come.
  worker.on("error", () => {});
  worker.unref();
  port.unref();
  const send = (request: SyncRequest) => port.postMessage(request);
  let lastId = 0;
  /** Undefined: none came. One that came too late for whoever asked is passed over. */
  const replyTo = (request: SyncRequest & { id: number }): SyncReply | undefined => {
    let seen = Atomics.load(replies, 0);
    send(request);
    while (Atomics.wait(replies, 0, seen, silenceMsMax) !== "timed-out") {
      seen = Atomics.load(replies, 0);
      for (let got = receiveMessageOnPort(port); got; got = receiveMessageOnPort(port)) {
        const reply = got.message as SyncReply;
        if (reply.id === request.id) return reply;
      }
    }
    return undefined;
  };
  return {
    place,
    run(statements, { connect = false } = {}) {
      const id = ++lastId;
      const reply = replyTo({ type: "run", id, connect, statements });
      if (!reply) {
        send({ type: "discard" });
        throw new SkerryError({
          code: "database-unreachable",
          message: `PostgreSQL at ${place} did not answer within ${silenceMsMax} ms`,
          hint: "is it running, and reachable from this machine? Cells keep what the hub did not acknowledge",
          retryable: true,
        });
      }
      if (reply.type === "failed") throw decodeError(reply.error);
      return reply.rows;
    },
    discard: () => send({ type: "discard" }),
    async close() {
      port.close();
      await worker.terminate();
    },
  };
}
