/**
 * What etcd leaves to its users: forgetting history, giving pages back, and taking back the alarm
 * that refuses all writes once a member's file has reached its quota.
 */
import { every } from "../../lib/clock.ts";
import type { Revision } from "../ledger.ts";
import { createRetention, retentionOf, type Retention } from "../retention.ts";
import * as wire from "./client/messages.ts";
import { isCompacted, type Core } from "./core.ts";
import type { EtcdCluster, EtcdMemberStatus } from "./types.ts";

/** etcd's own default. */
export const defaultQuotaBytes = 2 * 1024 ** 3;

/** Of the quota: below it a member may take writes again; above it its file is worth rewriting. */
const roomyShare = 0.8;
/** Somebody other than the leader's own server heals only what stands after so many looks. */
const patienceLooks = 3;

type Answering = EtcdMemberStatus & { state: "answers" };

export function startMaintenance(
  core: Core,
  cluster: EtcdCluster,
  options: { retention: Partial<Retention>; quotaBytes: number },
): { close(): void } {
  const { client, deps, timeoutMs } = core;
  const { clock, log } = deps;
  const { quotaBytes } = options;
  const retention = retentionOf(options.retention);
  const revisionNow = () => (core.seen() + core.history().base) as Revision;
  let mayGo = createRetention({ clock }, { retention, revision: revisionNow() });
  let compactedTo = 0;
  let looks = 0;

  const compact = async (etcdRevision: number) => {
    try {
      await client.ask(
        wire.compact,
        { revision: etcdRevision },
        { timeoutMs, signal: core.closed },
      );
    } catch (error) {
      // Another server was first.
      if (!isCompacted(error)) throw error;
    }
    compactedTo = etcdRevision;
  };

  const forget = async () => {
    await core.verify();
    const { base } = core.history();
    const target = mayGo(revisionNow()) - base;
    if (target > compactedTo) await compact(target);
  };

  const heal = async () => {
    const answering = (await cluster.status()).filter(
      (one): one is Answering => one.state === "answers",
    );
    const isFull = answering.some(({ errors }) => errors.some((text) => text.includes("NOSPACE")));
    const wastes = (one: Answering) =>
      one.dbBytes > roomyShare * quotaBytes && one.dbBytesInUse < one.dbBytes / 2;
    if (!isFull && !answering.some(wastes)) {
      looks = 0;
      return;
    }
    const local = answering.find(({ name }) => name === client.members()[0]?.name);
    if (!(local && local.leaderId === local.id) && ++looks < patienceLooks) return;
    if (isFull) await compact(core.seen());
    const fits = ({ dbBytesInUse }: Answering) => dbBytesInUse < roomyShare * quotaBytes;
    // The one that leads comes last: it answers nobody meanwhile.
    const followersFirst = answering.toSorted(
      (a, b) => Number(a.leaderId === a.id) - Number(b.leaderId === b.id),
    );
    for (const one of followersFirst) {
      if (one.dbBytes < roomyShare * quotaBytes || !fits(one)) continue;
      log.info("giving back what history took", { member: one.name, bytes: one.dbBytes });
      await cluster.defragment(one.name);
    }
    if (!isFull) return;
    const after = (await cluster.status()).filter(
      (one): one is Answering => one.state === "answers",
    );
    const tight = after.filter(({ dbBytes }) => dbBytes >= roomyShare * quotaBytes);
    if (tight.length > 0) {
      log.error("the ledger's members are full: writes are refused", {
        members: tight.map(({ name, dbBytesInUse }) => ({ name, dbBytesInUse })),
        quotaBytes,
      });
      return;
    }
    for (const alarm of await cluster.alarms())
      if (alarm.alarm === "no-space") await cluster.disarm(alarm);
    log.info("the ledger's members have space again: writes are taken");
  };

  const stopListening = core.onRewritten(() => {
    compactedTo = 0;
    mayGo = createRetention({ clock }, { retention, revision: revisionNow() });
  });
  const timers = [forget, heal].map((work) =>
    every(clock, retention.periodMs, work, (error) => {
      if (!core.closed.aborted) log.warn("the ledger's upkeep is tried again", { error });
    }),
  );
  return {
    close() {
      stopListening();
      for (const timer of timers) timer.cancel();
    },
  };
}
