/** The members of a cluster, for those who change them: etcd's Cluster and Maintenance services. */
import { SkerryError } from "../../lib/errors.ts";
import { unavailable } from "../checks.ts";
import { createEtcdClient, type EtcdClient } from "./client/client.ts";
import * as wire from "./client/messages.ts";
import { EtcdFailure } from "./client/outcome.ts";
import type { OutputOf } from "./client/wire.ts";
import { successorOf } from "./successor.ts";
import { createWitnessProbe, witnessStatus, type WitnessProbe } from "./witnesses.ts";
import type {
  EtcdAlarm,
  EtcdCluster,
  EtcdConnectOptions,
  EtcdDeps,
  EtcdMember,
  EtcdMemberStatus,
} from "./types.ts";

const timeoutMs = 5_000;
/** Rewrites the whole file of a member. */
const defragmentTimeoutMs = 120_000;
const hashTimeoutMs = 60_000;

/** A cluster seen without its ledger: what a server that joins needs, or one that lost its quorum. */
export function openEtcdCluster(
  deps: EtcdDeps,
  options: EtcdConnectOptions,
): EtcdCluster & Disposable {
  const client = createEtcdClient(deps, options);
  const witnesses = createWitnessProbe(deps, options);
  return {
    ...clusterOf(client, witnesses),
    [Symbol.dispose]() {
      client.close();
      witnesses.close();
    },
  };
}

export function clusterOf(client: EtcdClient, witnesses?: WitnessProbe): EtcdCluster {
  const members = async (): Promise<readonly EtcdMember[]> => {
    // In 3.4 each member tells what it knows: one that is up to date knows all.
    const member = await client.upToDate({ timeoutMs });
    const list = await client.attempt(
      wire.memberList,
      { linearizable: true },
      { timeoutMs, member },
    );
    return list.members.map(memberOf);
  };

  const status = async (options: { timeoutMs?: number } = {}) => {
    const [own, others] = await Promise.all([
      statusOfServers(options),
      witnesses?.look(options.timeoutMs ?? 1_000) ?? [],
    ]);
    return [...own, ...others.map((seen) => witnessStatus(seen, own))];
  };

  const statusOfServers = async (options: { timeoutMs?: number }) =>
    await Promise.all(
      client.members().map(async ({ name }): Promise<EtcdMemberStatus> => {
        try {
          const answer = await client.attempt(
            wire.status,
            {},
            { timeoutMs: options.timeoutMs ?? 1_000, member: name },
          );
          return statusOf(name, answer);
        } catch (error) {
          if (!(error instanceof EtcdFailure)) throw error;
          return { state: "unreachable", name, error };
        }
      }),
    );

  const leaderName = async (): Promise<string> => {
    const statuses = await status();
    const leader = statuses.find((one) => one.state === "answers" && one.leaderId === one.id);
    if (leader) return leader.name;
    throw unavailable("no member of the ledger leads now");
  };

  const moveLeader = async (toId: string) => {
    const member = await leaderName();
    await client.attempt(
      wire.moveLeader,
      { targetId: BigInt(toId) },
      { timeoutMs, member, patient: true },
    );
  };

  /**
   * A leader that is removed leaves the others without one until they have noticed and agreed: with
   * etcd 3.4 for seconds, and votes that split for more.
   */
  const leadElsewhere = async (id: string) => {
    const statuses = await status();
    const leads = statuses.some(
      (one) => one.state === "answers" && one.id === id && one.leaderId === id,
    );
    const successor = leads ? successorOf(statuses, id) : undefined;
    if (successor) await moveLeader(successor.id);
  };

  return {
    members: () => explained(members()),
    status,

    addLearner: (peerUrls) =>
      explained(
        client
          .attempt(wire.memberAdd, { peerUrls, isLearner: true }, { timeoutMs })
          .then(({ member }) => member && memberOf(member))
          .catch(async (error: unknown) => {
            const mayBeThere =
              error instanceof EtcdFailure &&
              (error.kind === "unknown" ||
                /Peer URLs already exists|member ID already exist/.test(error.details));
            const known = mayBeThere ? await members() : [];
            const found = known.find(
              ({ isLearner, peerUrls: urls }) => isLearner && sameUrls(urls, peerUrls),
            );
            if (found) return found;
            throw error;
          })
          .then((member) => {
            if (member) return member;
            throw unavailable("the ledger's members did not say whom they added");
          }),
      ),

    promote: (id) =>
      explained(
        client
          .ask(wire.memberPromote, { id: BigInt(id) }, { timeoutMs })
          .then(() => ({ state: "promoted" }) as const)
          .catch((error: unknown) => {
            if (error instanceof EtcdFailure) {
              if (/in sync with leader/.test(error.details))
                return { state: "not-in-sync" } as const;
              // An earlier attempt of this call, or somebody else, gave it its vote.
              if (/not a learner/.test(error.details)) return { state: "promoted" } as const;
            }
            throw error;
          }),
      ),

    async remove(id) {
      const known = await explained(members());
      if (!known.some((member) => member.id === id)) throw notFound(id);
      await explained(leadElsewhere(id));
      await explained(
        client.ask(wire.memberRemove, { id: BigInt(id) }, { timeoutMs }).catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
        }),
      );
    },

    async updatePeers(id, peerUrls) {
      await explained(client.ask(wire.memberUpdate, { id: BigInt(id), peerUrls }, { timeoutMs }));
    },

    moveLeader: (toId) => explained(moveLeader(toId)),

    async alarms() {
      const { alarms } = await explained(
        client.ask(wire.alarm, { action: wire.alarmGet }, { timeoutMs }),
      );
      return alarms.flatMap(({ memberId, alarm }): EtcdAlarm[] =>
        alarm === wire.alarmNoSpace || alarm === wire.alarmCorrupt
          ? [
              {
                memberId: String(memberId),
                alarm: alarm === wire.alarmNoSpace ? "no-space" : "corrupt",
              },
            ]
          : [],
      );
    },

    async disarm({ memberId, alarm }) {
      await explained(
        client.ask(
          wire.alarm,
          {
            action: wire.alarmDeactivate,
            memberId: BigInt(memberId),
            alarm: alarm === "no-space" ? wire.alarmNoSpace : wire.alarmCorrupt,
          },
          { timeoutMs },
        ),
      );
    },

    async defragment(name) {
      await explained(
        client.attempt(
          wire.defragment,
          {},
          { timeoutMs: defragmentTimeoutMs, member: name, patient: true },
        ),
      );
    },

    async hashKv(name, etcdRevision = 0) {
      const { hash, compactRevision } = await explained(
        client.attempt(
          wire.hashKv,
          { revision: etcdRevision },
          { timeoutMs: hashTimeoutMs, member: name, patient: true },
        ),
      );
      return { hash, compactRevision };
    },
  };
}

function memberOf(member: OutputOf<typeof wire.member>): EtcdMember {
  const { id, ...rest } = member;
  return { id: String(id), ...rest };
}

function statusOf(name: string, answer: OutputOf<typeof wire.statusResponse>): EtcdMemberStatus {
  const { header } = answer;
  return {
    state: "answers",
    name,
    id: String(header?.memberId ?? 0n),
    clusterId: String(header?.clusterId ?? 0n),
    version: answer.version,
    leaderId: answer.leader === 0n ? undefined : String(answer.leader),
    isLearner: answer.isLearner,
    raftTerm: answer.raftTerm,
    raftIndex: answer.raftIndex,
    raftAppliedIndex: answer.raftAppliedIndex,
    etcdRevision: header?.revision ?? 0,
    dbBytes: answer.dbSize,
    dbBytesInUse: answer.dbSizeInUse,
    errors: answer.errors,
  };
}

const sameUrls = (a: readonly string[], b: readonly string[]) =>
  a.toSorted().join(" ") === b.toSorted().join(" ");

const isNotFound = (error: unknown) =>
  error instanceof EtcdFailure && /member not found/.test(error.details);

const notFound = (id: string, cause?: unknown) =>
  new SkerryError({
    code: "member-not-found",
    message: `the ledger has no member ${id}`,
    hint: "look at skerry server list",
    cause,
  });

async function explained<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof EtcdFailure)) throw error;
    if (isNotFound(error)) throw notFound("of that id", error);
    if (error.kind === "refused" || /unhealthy cluster/.test(error.details)) {
      throw new SkerryError({
        code: "member-refused",
        message: `the ledger's members refuse the change: ${error.details.replace(/^etcdserver: /, "")}`,
        hint: "all members but the one concerned have to answer: look at skerry server list",
        retryable: true,
        cause: error,
      });
    }
    throw unavailable("no member of the ledger answers", error);
  }
}
