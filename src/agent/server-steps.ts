/**
 * The steps of a change of the cell's servers: looked for and carried out here, or over the link of the
 * node concerned. What a node is asked to do it proves for itself: the authority by its key, a vote or a
 * farewell by the ledger.
 */
import type { Node } from "../api/index.ts";
import { readHandover } from "../identity/index.ts";
import type { MembershipView, ServerReport, ServersPort, Step } from "../ledger/index.ts";
import { SkerryError } from "../lib/errors.ts";
import type { Link } from "../transport/index.ts";
import type { Ground } from "./ground.ts";
import { endpointOf } from "./ledger-endpoints.ts";
import type { JoinRequest } from "./ledger-terms.ts";
import { identityFolder } from "./data-folder.ts";
import type { LedgerPath } from "./paths/ledger-path.ts";
import type { LinkPath } from "./paths/link-path.ts";
import { witnessesOf, type WitnessPath } from "./paths/witness-path.ts";

const examineTimeoutMs = 3_000;
/** etcd's first start on the other node is in it. */
const startTimeoutMs = 60_000;

/** Also answers what other servers ask of this node over their links. */
export function createServersPort(
  ground: Pick<Ground, "log" | "record" | "router" | "dataDir">,
  deps: {
    ledger: LedgerPath;
    links: Pick<LinkPath, "linkTo">;
    trustDomain: string;
    witness: Pick<WitnessPath, "entries">;
    nodes: () => readonly Node[];
  },
): ServersPort {
  const { log, record: node, router } = ground;
  const { ledger, witness } = deps;

  const report = async (): Promise<ServerReport> => ({
    node: node.node,
    role: node.role,
    etcdVersion: await ledger.etcdVersion(),
    peerUrl: ledger.peerUrl,
    memberId: ledger.memberId(),
  });
  /** Everything that is asked here comes from nodes of the cell; each answer is safe to give to any. */
  const serve = (method: string, answer: (body: unknown) => Promise<unknown>) =>
    router.handle(method, async ({ peer, body }) => {
      if (peer.path[0] !== "node" || peer.trustDomain !== deps.trustDomain)
        throw new SkerryError({ code: "forbidden", message: `${peer.id} is no node of this cell` });
      return encode((await answer(decode(body))) ?? {});
    });
  serve("servers.examine", report);
  serve("servers.start", (body) => ledger.join(body as JoinRequest));
  serve("servers.settle", () => ledger.settle());
  serve("servers.retire", () => ledger.leave());

  const ask = async <T>(name: string, method: string, body: unknown, timeoutMs: number) => {
    const link: Link | undefined = deps.links.linkTo(name);
    if (!link) throw silent(name);
    const answer = await link.request(method, encode(body), { timeoutMs, priority: 0 });
    return decode(answer) as T;
  };
  const look = async (name: string): Promise<[string, NodeSeen] | undefined> => {
    if (name === node.node) return [name, { state: "here", report: await report() }];
    const known = deps.nodes().find(({ metadata }) => metadata.name === name);
    try {
      const answer = await ask<ServerReport>(name, "servers.examine", {}, examineTimeoutMs);
      return [name, { state: "here", report: answer }];
    } catch (error) {
      log.debug("a node did not say what it is", { node: name, error });
      if (known) return [name, { state: "silent", why: "it does not answer over its link" }];
      // Let in a moment ago, by a token that names it.
      return (await ledger.book?.isGranted(name))
        ? [name, { state: "silent", why: "it has joined, and not told of itself yet" }]
        : undefined;
    }
  };

  const port: ServersPort = {
    async observe(names) {
      const { self } = { self: node.node };
      const seen = await Promise.all([...new Set([self, ...names])].map(look));
      const known = new Map(seen.filter((one) => one !== undefined));
      const cluster = ledger.record() ? ledger.cluster() : undefined;
      if (!cluster) return { self, engine: "sqlite", members: [], nodes: known };
      const members = (await cluster.members()).toSorted((a, b) => a.name.localeCompare(b.name));
      ledger.learnEndpoints(members.flatMap(endpointOf));
      const entries = await witness.entries();
      const witnesses = witnessesOf(members, entries);
      ledger.learnWitnesses(witnesses);
      const statuses = await cluster.status();
      return {
        self,
        engine: "etcd",
        nodes: known,
        witnesses: new Set(entries.map(({ name }) => name)),
        members: members.map(({ id, name, peerUrls, isLearner }) => {
          const own = witnesses.find((one) => one.id === id);
          const status = statuses.find((one) => one.state === "answers" && one.id === id);
          return {
            id,
            name: own?.name ?? name,
            ...(own ? { isWitness: true } : {}),
            peerUrls,
            isLearner,
            answers: status !== undefined,
            isLeader: status?.state === "answers" && status.leaderId === id,
          };
        }),
      };
    },
    async perform(step, tell) {
      const { book } = ledger;
      const cluster = ledger.cluster();
      if (step.step === "convert") return await ledger.convert(tell);
      if (!book || !cluster) throw silent(node.node);
      switch (step.step) {
        case "add-learner":
          return void (await cluster.addLearner([step.peerUrl]));
        case "start":
          return await start(step);
        case "promote": {
          const { state: now } = await cluster.promote(step.memberId);
          if (now === "promoted") return undefined;
          throw new SkerryError({
            code: "member-refused",
            message: `${step.node} has not caught up yet`,
            retryable: true,
          });
        }
        case "make-server":
          return void (await ask(step.node, "servers.settle", {}, examineTimeoutMs));
        case "move-leader":
          return await cluster.moveLeader(step.memberId);
        case "remove-member":
          await book.markRemoved(step.memberId, step.node);
          return await cluster.remove(step.memberId);
        case "make-worker":
          if (step.node === node.node) return await ledger.leave();
          return void (await ask(step.node, "servers.retire", {}, examineTimeoutMs));
        default:
          return step satisfies never;
      }
    },
  };

  /** The keys of the cell go to the node that an administrator named, over its own link, and to no other. */
  const start = async ({ node: name, memberId }: Extract<Step, { step: "start" }>) => {
    const { book } = ledger;
    const record = ledger.record();
    const cluster = ledger.cluster();
    if (!book || !record || !cluster) throw silent(node.node);
    if (!(await book.isGranted(name)))
      throw new SkerryError({
        code: "not-granted",
        message: `nobody named ${name} to become a server`,
        hint: `skerry server add ${name}`,
      });
    const members = await cluster.members();
    const request: JoinRequest = {
      handover: readHandover(identityFolder(ground.dataDir)),
      memberId,
      token: record.token,
      members: members.map((member) => ({
        name: member.id === memberId ? name : member.name,
        peerUrl: member.peerUrls[0] ?? "",
      })),
      endpoints: record.endpoints,
      epoch: ledger.ledger?.epoch ?? record.epoch,
      ...(record.timers ? { timers: record.timers } : {}),
      ...(node.hub === undefined ? {} : { hub: node.hub }),
    };
    await ask(name, "servers.start", request, startTimeoutMs);
    await book.endGrant(name);
    log.warn("the cell's authority was handed over", { to: name });
  };
  return port;
}

type NodeSeen = MembershipView["nodes"] extends ReadonlyMap<string, infer Seen> ? Seen : never;

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(bytes));

const silent = (name: string) =>
  new SkerryError({
    code: "peer-unreachable",
    message: `there is no link to ${name} now`,
    hint: "skerry status says why",
    retryable: true,
  });
