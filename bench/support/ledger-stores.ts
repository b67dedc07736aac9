/** What the ledger's bench asks of everybody alike: a ledger, and etcd without one. */
import { Client, credentials as grpcCredentials, Metadata } from "@grpc/grpc-js";
import * as wire from "../../src/ledger/etcd/client/messages.ts";
import type { EtcdConnectOptions } from "../../src/ledger/etcd/index.ts";
import type { Ledger, Revision } from "../../src/ledger/index.ts";

export type Store = {
  put(key: string, value: Uint8Array): Promise<number>;
  /** Only if it stands as it was written at revision `at`; the new revision. */
  replace(key: string, at: number, value: Uint8Array): Promise<number>;
  /** How many keys came. */
  list(prefix: string, limit: number): Promise<number>;
  /** Calls `onValue` for each put after revision `after`, until the signal. */
  follow(
    prefix: string,
    options: { after: number; signal: AbortSignal; onValue: (value: Uint8Array) => void },
  ): Promise<void>;
  close(): Promise<void>;
};

export function storeOf(ledger: Ledger): Store {
  const write = async (...[when, then]: Parameters<Ledger["transact"]>) => {
    const outcome = await ledger.transact(when, then);
    if (outcome.state !== "done") throw new Error(`a write was ${outcome.state}`);
    return outcome.revision;
  };
  return {
    put: (key, value) => write([], [{ type: "put", key, value }]),
    replace: (key, at, value) =>
      write([{ key, modRevision: at as Revision }], [{ type: "put", key, value }]),
    list: async (prefix, limit) => (await ledger.list(prefix, { limit })).items.length,
    async follow(prefix, { after, signal, onValue }) {
      for await (const { events } of ledger.watch(prefix, { after: after as Revision, signal }))
        for (const event of events) if (event.type === "put") onValue(event.keyValue.value);
    },
    close: () => ledger.close(),
  };
}

const put: wire.Method<Parameters<typeof wire.putRequest.encode>[0], { header?: wire.Header }> = {
  path: "/etcdserverpb.KV/Put",
  encode: wire.putRequest.encode,
  decode: wire.headerResponse.decode,
};

/**
 * grpc-js and nothing around it: one channel to the first member, no deadline, no second try, no
 * condition on history, no mark. The codecs are the ledger's.
 */
export function connectBare(options: EtcdConnectOptions): Store {
  const [endpoint] = options.members();
  if (!endpoint) throw new Error("no member");
  const { caPem, keyPem, certPem } = options.credentials();
  const client = new Client(
    `ipv4:${endpoint.host}:${endpoint.port}`,
    grpcCredentials.createSsl(Buffer.from(caPem), Buffer.from(keyPem), Buffer.from(certPem)),
    {
      "grpc.ssl_target_name_override": options.serverName,
      "grpc.enable_retries": 0,
      "grpc.max_receive_message_length": -1,
    },
  );
  const metadata = new Metadata();
  const unary = <Q, R>(method: wire.Method<Q, R>, request: Q) =>
    new Promise<R>((resolve, reject) => {
      client.makeUnaryRequest(
        method.path,
        (value: Q) => Buffer.from(method.encode(value)),
        method.decode,
        request,
        metadata,
        (error, response) => (response === undefined ? reject(error) : resolve(response)),
      );
    });
  const revisionOf = ({ header }: { header?: wire.Header | undefined }) => header?.revision ?? 0;
  const asKey = (text: string) => Buffer.from(text, "latin1");
  /** The prefix with its last byte one further. */
  const endOf = (prefix: string) => {
    const end = asKey(prefix);
    const last = end.length - 1;
    end[last] = (end[last] ?? 0) + 1;
    return end;
  };
  return {
    put: async (key, value) => revisionOf(await unary(put, { key: asKey(key), value })),
    async replace(key, at, value) {
      const bytes = asKey(key);
      const response = await unary(wire.txn, {
        compare: [
          {
            result: wire.compareEqual,
            target: wire.targetModRevision,
            key: bytes,
            modRevision: at,
          },
        ],
        success: [{ put: { key: bytes, value } }],
        failure: [{ range: { key: bytes } }],
      });
      if (!response.succeeded) throw new Error("a transaction was refused");
      return revisionOf(response);
    },
    async list(prefix, limit) {
      const range = { key: asKey(prefix), rangeEnd: endOf(prefix), limit };
      return (await unary(wire.range, range)).kvs.length;
    },
    async follow(prefix, { after, signal, onValue }) {
      const call = client.makeBidiStreamRequest(
        wire.watch.path,
        (value: Parameters<typeof wire.watch.encode>[0]) => Buffer.from(wire.watch.encode(value)),
        wire.watch.decode,
        metadata,
      );
      signal.addEventListener("abort", () => call.cancel(), { once: true });
      const ended = new Promise<void>((resolve, reject) => {
        call.once("error", (error) => (signal.aborted ? resolve() : reject(error)));
        call.once("end", resolve);
      });
      call.on("data", ({ events }: ReturnType<typeof wire.watch.decode>) => {
        for (const { type, keyValue } of events)
          if (type === wire.eventPut && keyValue) onValue(keyValue.value);
      });
      const range = { key: asKey(prefix), rangeEnd: endOf(prefix) };
      call.write({
        create: { ...range, startRevision: after + 1, progressNotify: true, previous: true },
      });
      await ended;
    },
    close: async () => client.close(),
  };
}
