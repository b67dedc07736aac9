/**
 * The members of an etcd cluster as one service: the local one first, whoever failed last, one
 * channel each (a channel over all of them keeps picking a stopped one). A member that failed is
 * looked at in the background, by a read that needs quorum, and comes back to its place once it
 * answers; until then it is asked only when all others failed as well.
 */
import { status as grpcStatus } from "@grpc/grpc-js";
import { createBackoff } from "../../../lib/backoff.ts";
import { every, type Timer } from "../../../lib/clock.ts";
import { unavailable } from "../../checks.ts";
import type { EtcdConnectOptions, EtcdCredentials, EtcdDeps, EtcdEndpoint } from "../types.ts";
import { connectMember, type CallOptions, type Connection, type EtcdStream } from "./connection.ts";
import { range, type Method } from "./messages.ts";
import { EtcdFailure } from "./outcome.ts";

export type AttemptOptions = CallOptions & {
  /** This member and no other. */
  readonly member?: string;
};

export interface EtcdClient {
  members(): readonly EtcdEndpoint[];
  /** One try at the member that most likely answers. Throws EtcdFailure, or the signal's reason. */
  attempt<Q, R>(method: Method<Q, R>, request: Q, options: AttemptOptions): Promise<R>;
  /**
   * Tried at one member after the other until one answers or refuses: for reads, and for what may be
   * done twice. Throws EtcdFailure (the last one), or the signal's reason.
   */
  ask<Q, R>(method: Method<Q, R>, request: Q, options: CallOptions): Promise<R>;
  stream<Q, R>(method: Method<Q, R>, options: AttemptOptions): Promise<EtcdStream<Q, R>>;
  serverStream<Q, R>(
    method: Method<Q, R>,
    request: Q,
    options: AttemptOptions,
  ): Promise<EtcdStream<never, R>>;
  /**
   * A member that has seen everything that was acknowledged before the call. Throws EtcdFailure, or
   * the signal's reason.
   */
  upToDate(options: CallOptions): Promise<string>;
  /** A stream of that member broke: others come first for now. */
  failed(member: string): void;
  /** How long the attempt of that number, from 0, may take of what is left: later ones take longer. */
  attemptMs(attempt: number, leftMs: number): number;
  close(): void;
}

/** How often a member that failed is looked at. */
const probeMs = 1_000;
/**
 * How long the first two attempts wait while there are others to ask; it is doubled with each further one.
 * Both may have gone to a leader that is gone: until the next one is elected nobody can know.
 */
const firstAttemptMs = 500;
const probeKey = new Uint8Array([1]);

type Member = {
  endpoint: EtcdEndpoint;
  connection: Connection;
  credentials: EtcdCredentials;
  failedAtMs: number | undefined;
  probe: Timer | undefined;
};

export function createEtcdClient(deps: EtcdDeps, options: EtcdConnectOptions): EtcdClient {
  const { clock, log } = deps;
  const heldByName = new Map<string, Member>();
  /** As they were found last, in the order of preference. */
  let found: readonly Member[] = [];
  let closed = false;

  const drop = (name: string, member: Member) => {
    heldByName.delete(name);
    member.probe?.cancel();
    member.connection.close();
  };

  /** Channels follow what `members` and `credentials` say now. */
  const current = (): readonly Member[] => {
    if (closed) throw unavailable("the ledger is closed");
    const endpoints = options.members();
    const credentials = options.credentials();
    const isSame = (endpoint: EtcdEndpoint, index: number) =>
      found[index]?.endpoint === endpoint && found[index].credentials === credentials;
    if (endpoints.length === found.length && endpoints.every(isSame)) return found;
    for (const [name, member] of heldByName)
      if (!endpoints.some((endpoint) => endpoint.name === name)) drop(name, member);
    found = endpoints.map((endpoint) => {
      const held = heldByName.get(endpoint.name);
      if (held && sameEndpoint(held.endpoint, endpoint) && sameLeaf(held.credentials, credentials))
        return Object.assign(held, { endpoint, credentials });
      const connection = connectMember(
        { clock },
        { endpoint, credentials, serverName: options.serverName },
      );
      // What the old channel carries ends there: a renewed leaf breaks no call.
      if (held) drop(endpoint.name, held);
      const made = { endpoint, connection, credentials, failedAtMs: undefined, probe: undefined };
      heldByName.set(endpoint.name, made);
      return made;
    });
    return found;
  };

  const pick = (name: string | undefined): Member => {
    const members = current();
    const failedAt = ({ failedAtMs = -Infinity }: Member) => failedAtMs;
    const picked =
      name === undefined
        ? members.find((one) => members.every((other) => failedAt(one) <= failedAt(other)))
        : members.find(({ endpoint }) => endpoint.name === name);
    if (picked) return picked;
    throw new EtcdFailure("not-done", {
      code: grpcStatus.UNAVAILABLE,
      details: "no such member",
      member: name ?? "ledger",
    });
  };

  const markFailed = (member: Member) => {
    if (closed || heldByName.get(member.endpoint.name) !== member) return;
    member.failedAtMs = clock.monotonicMs();
    member.probe ??= every(
      clock,
      probeMs,
      async () => {
        await member.connection.unary(range, { key: probeKey }, { timeoutMs: probeMs });
        member.failedAtMs = undefined;
        member.probe?.cancel();
        member.probe = undefined;
        log.info("a member of the ledger answers again", { member: member.endpoint.name });
      },
      (error) => log.debug("member still silent", { member: member.endpoint.name, error }),
    );
  };

  /** Tells failures of the member from refusals, and remembers the former. */
  const on = async <T>(
    name: string | undefined,
    work: (connection: Connection) => Promise<T>,
  ): Promise<T> => {
    const member = pick(name);
    try {
      const result = await work(member.connection);
      if (member.failedAtMs !== undefined && name === undefined) member.failedAtMs = undefined;
      return result;
    } catch (error) {
      if (error instanceof EtcdFailure && error.kind !== "refused") markFailed(member);
      throw error;
    }
  };

  const attemptMs = (attempt: number, leftMs: number) =>
    options.members().length > 1
      ? Math.min(leftMs, firstAttemptMs * 2 ** Math.max(0, attempt - 1))
      : leftMs;

  return {
    members: () => options.members(),
    attempt: (method, request, { member, ...rest }) =>
      on(member, (connection) => connection.unary(method, request, rest)),
    async ask(method, request, { timeoutMs, signal }) {
      const untilMs = clock.monotonicMs() + timeoutMs;
      const backoff = createBackoff(deps, { initialMs: 20, maxMs: 500 });
      for (let attempt = 0; ; attempt++) {
        const leftMs = untilMs - clock.monotonicMs();
        try {
          return await on(undefined, (connection) =>
            connection.unary(method, request, {
              timeoutMs: Math.max(1, attemptMs(attempt, leftMs)),
              signal,
            }),
          );
        } catch (error) {
          if (!(error instanceof EtcdFailure) || error.kind === "refused") throw error;
          const pauseMs = backoff.nextMs();
          if (clock.monotonicMs() + pauseMs >= untilMs) throw error;
          await clock.sleep(pauseMs, { signal });
        }
      }
    },
    stream: (method, { member, ...rest }) =>
      on(member, (connection) => connection.stream(method, rest)),
    serverStream: (method, request, { member, ...rest }) =>
      on(member, (connection) => connection.serverStream(method, request, rest)),
    async upToDate({ timeoutMs, signal }) {
      const untilMs = clock.monotonicMs() + timeoutMs;
      for (let attempt = 0; ; attempt++) {
        const { name } = pick(undefined).endpoint;
        const leftMs = untilMs - clock.monotonicMs();
        try {
          await on(name, (connection) =>
            connection.unary(
              range,
              { key: probeKey },
              { timeoutMs: Math.max(1, attemptMs(attempt, leftMs)), signal },
            ),
          );
          return name;
        } catch (error) {
          if (signal?.aborted || !(error instanceof EtcdFailure) || leftMs <= 0) throw error;
          await clock.sleep(Math.min(50, Math.max(1, leftMs)), { signal });
        }
      }
    },
    failed(name) {
      const member = heldByName.get(name);
      if (member) markFailed(member);
    },
    attemptMs,
    close() {
      closed = true;
      for (const [name, member] of heldByName) drop(name, member);
    },
  };
}

const sameEndpoint = (a: EtcdEndpoint, b: EtcdEndpoint) => a.host === b.host && a.port === b.port;
const sameLeaf = (a: EtcdCredentials, b: EtcdCredentials) =>
  a.certPem === b.certPem && a.keyPem === b.keyPem && a.caPem === b.caPem;
