/** What a member of the ledger says of itself in its metrics, as far as a witness needs it. Pure. */

export type WitnessFigures = {
  readonly hasLeader: boolean;
  readonly leads: boolean;
  readonly isLearner: boolean;
  readonly ledgerBytes: number;
  readonly residentBytes: number;
  /** By peer, its id in hexadecimal: what came from it since the start. */
  readonly receivedBytesById: ReadonlyMap<string, number>;
  readonly sentBytes: number;
};

/** Prometheus' text format (exposition format 0.0.4). */
export function readFigures(text: string): WitnessFigures {
  const valueOf = (name: string) =>
    Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? Number.NaN);
  const received = text.matchAll(
    /^etcd_network_peer_received_bytes_total\{From="([0-9a-f]+)"\} (\S+)$/gm,
  );
  const sent = text.matchAll(/^etcd_network_peer_sent_bytes_total\{To="[0-9a-f]+"\} (\S+)$/gm);
  return {
    hasLeader: valueOf("etcd_server_has_leader") === 1,
    leads: valueOf("etcd_server_is_leader") === 1,
    isLearner: valueOf("etcd_server_is_learner") === 1,
    ledgerBytes: valueOf("etcd_mvcc_db_total_size_in_bytes"),
    residentBytes: valueOf("process_resident_memory_bytes"),
    receivedBytesById: new Map([...received].map(([, id = "", bytes]) => [id, Number(bytes)])),
    sentBytes: [...sent].reduce((sum, [, bytes]) => sum + Number(bytes), 0),
  };
}

/**
 * Who leads in a witness's place: the peer that was heard most between two looks; undefined when none
 * was. A leadership that goes to a dead member stops all writes for the length of an election. Answers
 * the id in decimal.
 */
export function heirOf(before: WitnessFigures, after: WitnessFigures): string | undefined {
  if (!before.leads || !after.leads) return undefined;
  const [first] = [...after.receivedBytesById]
    .map(([id, bytes]) => ({ id, heard: bytes - (before.receivedBytesById.get(id) ?? 0) }))
    .filter(({ heard }) => heard > 0)
    .toSorted((a, b) => b.heard - a.heard || a.id.localeCompare(b.id));
  return first && BigInt(`0x${first.id}`).toString();
}
