/**
 * What etcd leaves to its users: forgetting history, giving pages back, and taking back the alarm
 * that refuses all writes once a member's file has reached its quota.
 */
import { createBackoff } from "../../lib/backoff.ts";
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
/** Rewriting a file that stays full is tried again after a pause that grows up to this. */
const pauseMsMax = 60_000;

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

  const backoff = createBackoff(deps, { initialMs: retention.periodMs, maxMs: pauseMsMax });
  /** What the last rewriting of full files left as it was, and when it is tried again. */
  let healed = { atRevision: 0, againMs: 0 };

  const compact = async (etcdRevision: number, { physical = false } = {}) => {
    try {
      await client.ask(
        wire.compact,
        { revision: etcdRevision, physical },
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

  const answering = async () =>
    (await cluster.status()).filter((one): one is Answering => one.state === "answers");

  const heal = async () => {
    const members = await answering();
    const isFull = members.some(({ errors }) => errors.some((text) => text.includes("NOSPACE")));
    const wasteful = members.filter(
      ({ dbBytes, dbBytesInUse }) =>
        dbBytes > roomyShare * quotaBytes && (isFull || dbBytesInUse < dbBytes / 2),
    );
    if (!isFull && wasteful.length === 0) {
      looks = 0;
      backoff.reset();
      return;
    }
    const local = members.find(({ name }) => name === client.members()[0]?.name);
    if (!(local && local.leaderId === local.id) && ++looks < patienceLooks) return;
    await core.verify();
    // Nothing was deleted since a rewriting that did not help.
    if (core.seen() === healed.atRevision || clock.monotonicMs() < healed.againMs) return;
    healed = { atRevision: core.seen(), againMs: clock.monotonicMs() + backoff.nextMs() };
    if (isFull) await compact(core.seen(), { physical: true });
    // The one that leads comes last: it answers nobody meanwhile.
    for (const { name, dbBytes } of wasteful.toSorted(
      (a, b) => Number(a.leaderId === a.id) - Number(b.leaderId === b.id),
    )) {
      log.info("giving back what history took", { member: name, bytes: dbBytes });
      await cluster.defragment(name);
    }
    if (isFull) await disarm();
  };

  const disarm = async () => {
    const tight = (await answering()).filter(({ dbBytes }) => dbBytes >= roomyShare * quotaBytes);
    if (tight.length > 0) {
      log.error("the ledger's members are full: writes are refused", {
        members: tight.map(({ name, dbBytes }) => ({ name, dbBytes })),
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
