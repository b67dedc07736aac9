/**
 * One member of etcd, reached over one gRPC channel. The only file that knows grpc-js. No deadline is
 * given to it: its deadlines are points of the wall clock, which steps; every wait here is ended by
 * a timer on the monotonic clock.
 */
import {
  Client,
  connectivityState,
  credentials as grpcCredentials,
  Metadata,
  status as grpcStatus,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ServiceError,
} from "@grpc/grpc-js";
import { isIP } from "node:net";
import type { Clock } from "../../../lib/clock.ts";
import type { EtcdCredentials, EtcdEndpoint } from "../types.ts";
import type { Method } from "./messages.ts";
import { classify, EtcdFailure } from "./outcome.ts";

export type CallOptions = {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Waits for a member that refuses connections, instead of saying so at once. */
  readonly patient?: boolean;
};

export interface EtcdStream<Request, Response> {
  readonly member: string;
  send(request: Request): void;
  /** Pulled: what nobody asks for stays with the server. Throws EtcdFailure; ends when the server ends. */
  readonly messages: AsyncIterable<Response>;
  /** Idempotent. */
  cancel(): void;
}

export interface Connection {
  readonly endpoint: EtcdEndpoint;
  /** Throws EtcdFailure, or the signal's reason. */
  unary<Q, R>(method: Method<Q, R>, request: Q, options: CallOptions): Promise<R>;
  /** Throws EtcdFailure when the member cannot be reached in time. */
  stream<Q, R>(method: Method<Q, R>, options: CallOptions): Promise<EtcdStream<Q, R>>;
  /** A stream of answers to one request. */
  serverStream<Q, R>(
    method: Method<Q, R>,
    request: Q,
    options: CallOptions,
  ): Promise<EtcdStream<never, R>>;
  close(): void;
}

const channelOptions = {
  "grpc.enable_retries": 0,
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  // A stopped member keeps its connections: only pings notice. The members' flags allow this many.
  "grpc.keepalive_time_ms": 2_000,
  "grpc.keepalive_timeout_ms": 2_000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.min_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
};

export function connectMember(
  deps: { clock: Clock },
  options: { endpoint: EtcdEndpoint; credentials: EtcdCredentials; serverName: string },
): Connection {
  const { clock } = deps;
  const { endpoint, credentials } = options;
  const client = new Client(
    targetOf(endpoint),
    grpcCredentials.createSsl(
      Buffer.from(credentials.caPem),
      Buffer.from(credentials.keyPem),
      Buffer.from(credentials.certPem),
    ),
    { ...channelOptions, "grpc.ssl_target_name_override": options.serverName },
  );
  const channel = client.getChannel();
  /** Shared by all who wait: the channel keeps each watcher until the state changes. */
  let stateChange: Promise<void> | undefined;

  const failure = (error: { code: number; details: string }, cause?: unknown) =>
    new EtcdFailure(classify(error), { ...error, member: endpoint.name, cause });
  const notConnected = (why: string) =>
    new EtcdFailure("not-done", {
      code: grpcStatus.UNAVAILABLE,
      details: `No connection established: ${why}`,
      member: endpoint.name,
    });

  const nextState = (state: connectivityState) =>
    (stateChange ??= new Promise<void>((resolve) => {
      channel.watchConnectivityState(state, Infinity, () => {
        stateChange = undefined;
        resolve();
      });
    }));

  /** Resolves when a call would leave at once. */
  const connected = async ({ timeoutMs, signal, patient }: CallOptions): Promise<void> => {
    const untilMs = clock.monotonicMs() + timeoutMs;
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) return;
      if (state === connectivityState.TRANSIENT_FAILURE && !patient)
        throw notConnected("refused or lost");
      if (state === connectivityState.SHUTDOWN) throw notConnected("closed");
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0) throw notConnected("no answer in time");
      await settle(clock, { timeoutMs: leftMs, signal }, (resolve) => {
        void nextState(state).then(() => resolve(undefined));
        return { onTimeout: () => resolve(undefined), cancel: () => {} };
      });
    }
  };

  const toError = (error: ServiceError) =>
    failure({ code: error.code, details: error.details || error.message }, error);

  const streamOf = <Q, R>(
    call: ClientDuplexStream<Q, R> | ClientReadableStream<R>,
    send: (request: Q) => void,
  ): EtcdStream<Q, R> => {
    let cancelled = false;
    // Without a listener an error between two pulls would end the process; the iteration throws it.
    call.on("error", () => {});
    async function* messages() {
      try {
        for await (const message of call) yield message as R;
      } catch (error) {
        if (!cancelled) throw toError(error as ServiceError);
      } finally {
        call.cancel();
      }
    }
    return {
      member: endpoint.name,
      send,
      messages: messages(),
      cancel() {
        cancelled = true;
        call.cancel();
      },
    };
  };

  const call = <Q, R>(
    method: Method<Q, R>,
    request: Q,
    { timeoutMs, signal }: CallOptions,
  ): Promise<R> =>
    settle(clock, { timeoutMs, signal }, (resolve, reject) => {
      const sent = withoutStack(() =>
        client.makeUnaryRequest(
          method.path,
          (value: Q) => asBuffer(method.encode(value)),
          (bytes) => method.decode(plain(bytes)),
          request,
          noMetadata,
          noOptions,
          (error, response) => {
            if (error) reject(toError(error));
            else resolve(response as NonNullable<typeof response>);
          },
        ),
      );
      return {
        onTimeout: () =>
          reject(
            failure({
              code: grpcStatus.DEADLINE_EXCEEDED,
              details: `no answer within ${Math.round(timeoutMs)} ms`,
            }),
          ),
        cancel: () => sent.cancel(),
      };
    });

  return {
    endpoint,
    async unary(method, request, options) {
      const { timeoutMs } = options;
      // Nearly always: the rest is for channels that come and go.
      if (channel.getConnectivityState(true) === connectivityState.READY)
        return await call(method, request, options);
      const startedMs = clock.monotonicMs();
      await connected(options);
      const leftMs = Math.max(1, timeoutMs - (clock.monotonicMs() - startedMs));
      return await call(method, request, { ...options, timeoutMs: leftMs });
    },
    async stream(method, callOptions) {
      await connected(callOptions);
      const metadata = new Metadata();
      // Without it a watch on a member without quorum stays silent for ever.
      metadata.set("hasleader", "true");
      const call = client.makeBidiStreamRequest(
        method.path,
        (value: Parameters<typeof method.encode>[0]) => asBuffer(method.encode(value)),
        (bytes) => method.decode(plain(bytes)),
        metadata,
      );
      return streamOf(call, (request) => call.write(request));
    },
    async serverStream(method, request, callOptions) {
      await connected(callOptions);
      const call = client.makeServerStreamRequest(
        method.path,
        (value: typeof request) => asBuffer(method.encode(value)),
        (bytes) => method.decode(plain(bytes)),
        request,
      );
      return streamOf(call, () => {});
    },
    close: () => client.close(),
  };
}

/** grpc-js copies it for each call. */
const noMetadata = new Metadata();
const noOptions = {};

/**
 * grpc-js takes the caller's stack with each call, for the case that it fails: a tenth of what the call
 * costs. What fails here is told with the member and the method instead.
 */
function withoutStack<T>(start: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return start();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** Runs `start` and ends it by the time or the signal, whichever comes first; leaves no listener. */
function settle<T>(
  clock: Clock,
  { timeoutMs, signal }: CallOptions,
  start: (
    resolve: (value: T) => void,
    reject: (error: unknown) => void,
  ) => { onTimeout: () => void; cancel: () => void },
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const done = () => {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    const timer = clock.after(timeoutMs, () => {
      done();
      running.onTimeout();
      running.cancel();
    });
    const onAbort = () => {
      done();
      reject(signal?.reason as Error);
      running.cancel();
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const running = start(
      (value) => {
        done();
        resolve(value);
      },
      (error) => {
        done();
        reject(error as Error);
      },
    );
  });
}

function targetOf({ host, port }: EtcdEndpoint): string {
  switch (isIP(host)) {
    case 4:
      return `ipv4:${host}:${port}`;
    case 6:
      return `ipv6:[${host}]:${port}`;
    default:
      return `dns:${host}:${port}`;
  }
}

const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array) =>
  Buffer.from(buffer, byteOffset, byteLength);
const plain = ({ buffer, byteOffset, byteLength }: Buffer) =>
  new Uint8Array(buffer, byteOffset, byteLength);
