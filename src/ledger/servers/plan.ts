/**
 * What has to happen next so that a wish about the cell's servers comes true: pure. It is asked again
 * after every step with what is seen then, so that a change goes on wherever it was interrupted, by
 * whichever server, and a wish that is fulfilled needs nothing. Nothing is planned that loses quorum.
 */
import { namesInWords, numberWord, quorumOf, servers, survivalOf } from "./quorum.ts";

export type Change =
  | { readonly verb: "add"; readonly node: string }
  | { readonly verb: "remove"; readonly node: string }
  /** `by` may be the same name: a machine that came back without its data. */
  | { readonly verb: "replace"; readonly node: string; readonly by: string }
  | { readonly verb: "move-leader"; readonly node: string };

/** What a node says of itself, asked over its link. */
export type ServerReport = {
  readonly node: string;
  readonly role: "server" | "worker";
  /** Undefined: none was found. */
  readonly etcdVersion: string | undefined;
  readonly peerUrl: string;
  /** The member that it runs or has run, if any. */
  readonly memberId: string | undefined;
};

export type MemberView = {
  readonly id: string;
  /** A node of the cell, or of a witness; empty before its first start. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
  readonly answers: boolean;
  readonly isLeader: boolean;
  /** It votes and never leads. */
  readonly isWitness?: boolean;
};

export type MembershipView = {
  /** The server that looks. */
  readonly self: string;
  readonly engine: "sqlite" | "etcd";
  /** With sqlite none. */
  readonly members: readonly MemberView[];
  /** All that are or were witnesses, by name. */
  readonly witnesses?: ReadonlySet<string>;
  /** Of the nodes that the wish names, and of this one. */
  readonly nodes: ReadonlyMap<
    string,
    | { readonly state: "here"; readonly report: ServerReport }
    /** Known, but nothing answers there; `why` in words. */
    | { readonly state: "silent"; readonly why: string }
  >;
};

export type Step =
  | { readonly step: "convert" }
  | { readonly step: "add-learner"; readonly node: string; readonly peerUrl: string }
  | { readonly step: "start"; readonly node: string; readonly memberId: string }
  | { readonly step: "promote"; readonly node: string; readonly memberId: string }
  | { readonly step: "make-server"; readonly node: string }
  | { readonly step: "move-leader"; readonly node: string; readonly memberId: string }
  | { readonly step: "remove-member"; readonly node: string; readonly memberId: string }
  | { readonly step: "make-worker"; readonly node: string };

export type Plan =
  | { readonly state: "next"; readonly step: Step }
  /** Nothing to do but to look again. `because` is said of `node`, where one is named. */
  | { readonly state: "wait"; readonly because: string; readonly node?: string }
  | {
      readonly state: "refused";
      readonly message: string;
      readonly hint: string;
      /** One look that a slow machine did not answer in time would say the same. */
      readonly mayPass?: true;
    }
  | { readonly state: "done"; readonly message: string };

/** More only make writes slower. */
export const serversMax = 5;

export function planChange(change: Change, view: MembershipView): Plan {
  switch (change.verb) {
    case "add":
      return planAdd(change.node, view);
    case "remove":
      return planRemove(change.node, view);
    case "replace":
      return planReplace(change.node, change.by, view);
    case "move-leader":
      return planMove(change.node, view);
  }
}

const next = (step: Step): Plan => ({ state: "next", step });
const refused = (message: string, hint: string): Plan => ({ state: "refused", message, hint });
const refusedNow = (message: string, hint: string): Plan => ({
  state: "refused",
  message,
  hint,
  mayPass: true,
});
const voters = ({ members }: MembershipView) => members.filter(({ isLearner }) => !isLearner);

function reportOf(view: MembershipView, node: string): ServerReport | undefined {
  const known = view.nodes.get(node);
  return known?.state === "here" ? known.report : undefined;
}

/** The member of a node: by its name, or by its address before it has started for the first time. */
function memberOf(view: MembershipView, node: string): MemberView | undefined {
  const named = view.members.find(({ name }) => name === node);
  const peerUrl = reportOf(view, node)?.peerUrl;
  return named ?? view.members.find(({ name, peerUrls }) => name === "" && peerUrls[0] === peerUrl);
}

/** A machine under a member's name that is not that member: it was wiped, or installed anew. */
function isAnother(member: MemberView, report: ServerReport | undefined): boolean {
  return member.name !== "" && report !== undefined && report.memberId !== member.id;
}

function absent(view: MembershipView, node: string): Plan | undefined {
  const known = view.nodes.get(node);
  // One that has just joined tells of itself a moment later.
  if (!known)
    return refusedNow(
      `${node} is not a node of this cell`,
      "skerry status lists the nodes; a new machine joins with a token of: skerry token create --server",
    );
  if (known.state === "silent") return { state: "wait", because: known.why, node };
  return undefined;
}

function lacksEtcd(report: ServerReport | undefined): Plan | undefined {
  if (!report || report.etcdVersion !== undefined) return undefined;
  return refused(
    `etcd is not installed on ${report.node}: several servers agree through it`,
    `on ${report.node}: apt-get install etcd-server, and systemctl disable --now etcd; then try again`,
  );
}

/** What keeps any change of members from being safe now. */
function shaky(view: MembershipView, except?: string): Plan | undefined {
  const all = voters(view);
  const silent = all.filter(({ answers }) => !answers);
  if (all.length - silent.length < quorumOf(all.length))
    return refusedNow(
      `quorum is lost: of ${servers(all.length)} only ${numberWord(all.length - silent.length)} answer, and ${numberWord(quorumOf(all.length))} are needed to change anything`,
      `bring ${namesInWords(silent.map(({ name }) => name))} back; if they are gone for good: skerry recover`,
    );
  const other = silent.find(({ name }) => name !== except);
  return other && except === undefined
    ? refusedNow(
        `${other.name} does not answer: another voter beside it would not make the cell safer`,
        `bring it back, or put a machine in its place: skerry server replace ${other.name} --with NODE`,
      )
    : undefined;
}

function planAdd(node: string, view: MembershipView): Plan {
  const report = reportOf(view, node);
  if (view.engine === "sqlite") {
    if (node === view.self)
      return { state: "done", message: `${node} is the cell's only server already` };
    return (
      absent(view, node) ??
      lacksEtcd(reportOf(view, view.self)) ??
      lacksEtcd(report) ??
      next({ step: "convert" })
    );
  }
  const member = memberOf(view, node);
  if (member && !member.isLearner && report?.role === "server" && !isAnother(member, report))
    return { state: "done", message: `${node} is a server; ${survivalOf(voters(view).length)}` };
  const early = absent(view, node) ?? lacksEtcd(report);
  if (early || !report) return early ?? { state: "wait", because: node };
  if (!member) {
    const all = voters(view);
    if (all.length >= serversMax)
      return refused(
        `the cell has ${servers(all.length)}: more would only make every write slower`,
        "remove one first: skerry server remove NODE",
      );
    return shaky(view) ?? next({ step: "add-learner", node, peerUrl: report.peerUrl });
  }
  if (!member.isLearner && isAnother(member, report))
    return refused(
      `${node} is a member of the ledger already, but this machine does not hold its data`,
      `if the machine was wiped or exchanged: skerry server replace ${node}`,
    );
  if (report.memberId !== member.id) return next({ step: "start", node, memberId: member.id });
  if (member.isLearner)
    return member.answers
      ? (shaky(view) ?? next({ step: "promote", node, memberId: member.id }))
      : { state: "wait", because: `etcd on ${node} does not answer yet` };
  return next({ step: "make-server", node });
}

function planRemove(node: string, view: MembershipView): Plan {
  const member = memberOf(view, node);
  const report = reportOf(view, node);
  if (view.engine === "sqlite" || !member) {
    if (node === view.self && view.engine === "sqlite") return lastServer(node);
    if (report?.role === "server" && view.engine === "etcd")
      return next({ step: "make-worker", node });
    if (view.witnesses?.has(node))
      return {
        state: "done",
        message: `${node} is no witness any more: its machine may forget it`,
      };
    return view.nodes.has(node)
      ? { state: "done", message: `${node} is no server` }
      : refused(`${node} is neither a server nor a node of this cell`, "skerry server list");
  }
  const all = voters(view);
  const isLast = !all.some(({ id, isWitness }) => id !== member.id && !isWitness);
  if (isLast && !member.isLearner && !member.isWitness) return lastServer(node);
  const unsafe = shaky(view, node);
  if (unsafe) return unsafe;
  if (member.isLearner) return next({ step: "remove-member", node, memberId: member.id });
  const left = all.filter(({ id }) => id !== member.id);
  const answering = left.filter(({ answers }) => answers);
  if (answering.length < quorumOf(left.length)) {
    const silent = left.filter(({ answers }) => !answers).map(({ name }) => name);
    return refusedNow(
      `without ${node} quorum would be lost: of ${namesInWords(left.map(({ name }) => name))} only ${numberWord(answering.length)} would answer, and ${numberWord(quorumOf(left.length))} are needed`,
      `bring ${namesInWords(silent)} back first, or remove ${silent.length === 1 ? "it" : "them"} instead`,
    );
  }
  const heir = answering.find(({ isWitness }) => !isWitness);
  if (member.isLeader && heir)
    return next({ step: "move-leader", node: heir.name, memberId: heir.id });
  return next({ step: "remove-member", node, memberId: member.id });
}

const lastServer = (node: string): Plan =>
  refused(
    `${node} is the cell's only server: without it nothing could be changed any more`,
    "add another one first: skerry server add NODE",
  );

function planReplace(node: string, by: string, view: MembershipView): Plan {
  const old = memberOf(view, node);
  if (view.engine === "sqlite" && by === node && node !== view.self) return planAdd(by, view);
  if (view.engine === "sqlite")
    return refused(
      `${view.self} is the cell's only server, and nobody else has its ledger`,
      `add the other one first: skerry server add ${by}`,
    );
  const report = reportOf(view, by);
  if (by === node) {
    if (!old || !isAnother(old, report)) {
      if (old && report === undefined) return absent(view, by) ?? planAdd(by, view);
      if (old && !old.isLearner && old.answers && report?.role === "server")
        return {
          state: "done",
          message: `${node} is a server; ${survivalOf(voters(view).length)}`,
        };
      return planAdd(by, view);
    }
    return lacksEtcd(report) ?? planRemove(node, view);
  }
  const heir = memberOf(view, by);
  const isIn = heir && !heir.isLearner && report?.role === "server";
  if (isIn && !old && reportOf(view, node)?.role !== "server")
    return { state: "done", message: `${by} is a server in place of ${node}` };
  if (isIn) return planRemove(node, view);
  if (!old) return planAdd(by, view);
  const early = absent(view, by) ?? lacksEtcd(report);
  if (early) return early;
  // A dead one goes first: a fourth voter beside it would only raise what quorum needs.
  return old.answers ? planAdd(by, view) : planRemove(node, view);
}

function planMove(node: string, view: MembershipView): Plan {
  const member = memberOf(view, node);
  if (view.engine === "sqlite" || !member)
    return refused(`${node} is not one of several servers`, "skerry server list");
  if (member.isWitness)
    return refused(`${node} is a witness: it votes and never leads`, "name a server");
  if (member.isLeader) return { state: "done", message: `${node} leads the ledger` };
  if (member.isLearner || !member.answers)
    return refusedNow(
      `${node} cannot lead: it ${member.isLearner ? "has no vote yet" : "does not answer"}`,
      "skerry server list",
    );
  return shaky(view, node) ?? next({ step: "move-leader", node, memberId: member.id });
}
