/**
 * Whether witnesses answer. They serve no clients, so they are asked what every peer may ask: their
 * version, at the port where their peers speak with them, with the same leaf.
 */
import { deadline, type Clock } from "../../lib/clock.ts";
import type {
  EtcdConnectOptions,
  EtcdCredentials,
  EtcdMemberStatus,
  EtcdWitness,
} from "./types.ts";

export type SeenWitness =
  | { readonly state: "answers"; readonly witness: EtcdWitness; readonly version: string }
  | { readonly state: "unreachable"; readonly witness: EtcdWitness; readonly error: Error };

export interface WitnessProbe {
  /** All at the same time; a silent one costs `timeoutMs`. */
  look(timeoutMs: number): Promise<readonly SeenWitness[]>;
  close(): void;
}

type Caller = { readonly credentials: EtcdCredentials; readonly tls: TlsFetch };
type TlsFetch = { readonly fetch: typeof fetch; close(): Promise<void> };

export function createWitnessProbe(
  deps: { clock: Clock },
  options: Pick<EtcdConnectOptions, "credentials" | "serverName" | "witnesses">,
): WitnessProbe {
  let caller: Caller | undefined;

  const drop = () => {
    const was = caller;
    caller = undefined;
    // Its calls end with it, and each of them says so.
    void was?.tls.close();
  };
  const current = async (): Promise<TlsFetch> => {
    // Cells without a witness do not load it.
    const { createTlsFetch } = await import("../../runtime/tls-fetch/index.ts");
    const credentials = options.credentials();
    if (caller?.credentials.certPem === credentials.certPem) return caller.tls;
    drop();
    const tls = createTlsFetch({
      keyPem: credentials.keyPem,
      chainPem: credentials.certPem,
      anchorsPem: [credentials.caPem],
      serverName: options.serverName,
      // etcd's peer port closes a connection that took its offer of HTTP/2.
      onlyHttp1: true,
    });
    caller = { credentials, tls };
    return tls;
  };
  const ask = async (witness: EtcdWitness, timeoutMs: number): Promise<SeenWitness> => {
    const limit = deadline(deps.clock, timeoutMs);
    try {
      const { fetch } = await current();
      const response = await fetch(`${witness.peerUrl}/version`, { signal: limit.signal });
      const { etcdserver = "" } = (await response.json()) as { etcdserver?: string };
      return { state: "answers", witness, version: etcdserver };
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(String(cause));
      return { state: "unreachable", witness, error };
    } finally {
      limit.done();
    }
  };

  return {
    look: (timeoutMs) =>
      Promise.all((options.witnesses?.() ?? []).map((witness) => ask(witness, timeoutMs))),
    close: drop,
  };
}

/** What the others say of the cluster holds for a witness that answers. */
export function witnessStatus(
  seen: SeenWitness,
  others: readonly EtcdMemberStatus[],
): EtcdMemberStatus {
  const { name, id, isLearner } = seen.witness;
  if (seen.state === "unreachable") return { state: "unreachable", name, error: seen.error };
  const newest = others
    .flatMap((one) => (one.state === "answers" ? [one] : []))
    .toSorted((a, b) => b.raftTerm - a.raftTerm)[0];
  return {
    state: "answers",
    name,
    id,
    clusterId: newest?.clusterId ?? "0",
    version: seen.version,
    leaderId: newest?.leaderId,
    isLearner,
    raftTerm: newest?.raftTerm ?? 0,
    raftIndex: 0,
    raftAppliedIndex: 0,
    etcdRevision: 0,
    dbBytes: 0,
    dbBytesInUse: 0,
    errors: [],
    isWitness: true,
  };
}
