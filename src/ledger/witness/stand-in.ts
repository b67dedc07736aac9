/**
 * A new member asks its peers who they are before it starts, and a witness calls nobody. So for its
 * first start somebody on its own machine answers in their place, with what the bundle says of them;
 * they are not believed further than that: what the members really are comes with the ledger itself,
 * from the servers that call. Paths and shapes are those of etcd's peer port (`/members`, `/version`).
 */
import type { WitnessBundle } from "../../api/index.ts";
import { serveFixedAnswers, type FixedAnswer } from "../../runtime/tls-answers/index.ts";

export interface StandIns extends AsyncDisposable {
  /** The members as a first start must be told: each server at its stand-in. */
  readonly peers: readonly { readonly name: string; readonly peerUrl: string }[];
}

const host = "127.0.0.1";

/** `leaf` must be of the bundle's authority and for the loopback address. */
export async function startStandIns(
  bundle: WitnessBundle,
  leaf: { keyPem: string; certPem: string },
): Promise<StandIns> {
  const answersByPath = new Map<string, FixedAnswer>();
  const others = bundle.members.filter(({ id }) => id !== bundle.memberId);
  await using stack = new AsyncDisposableStack();
  const portById = new Map<string, number>();
  for (const { id, name } of others) {
    const what = `the stand-in of ${name}`;
    const one = await serveFixedAnswers({ host, port: 0, what, ...leaf, answersByPath });
    portById.set(id, stack.use(one).port);
  }
  const peerUrlOf = ({ id, peerUrl }: WitnessBundle["members"][number]) =>
    portById.has(id) ? `https://${host}:${portById.get(id)}` : peerUrl;
  const headers = {
    "content-type": "application/json",
    "x-etcd-cluster-id": BigInt(bundle.clusterId).toString(16),
  };
  answersByPath.set("/members", { headers, body: membersBody(bundle, peerUrlOf) });
  answersByPath.set("/version", { headers, body: versionBody(bundle.etcdVersion) });
  const owned = stack.move();
  return {
    peers: bundle.members.map((member) => ({ name: member.name, peerUrl: peerUrlOf(member) })),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Ids are written as they are: no JavaScript number holds them. */
function membersBody(
  bundle: WitnessBundle,
  peerUrlOf: (member: WitnessBundle["members"][number]) => string,
): string {
  const members = bundle.members.map((member) => {
    const own = member.id === bundle.memberId;
    const rest = JSON.stringify({
      peerURLs: [peerUrlOf(member)],
      ...(own ? { isLearner: true } : { name: member.name, clientURLs: [] }),
    });
    return `{"id":${member.id},${rest.slice(1)}`;
  });
  return `[${members.join(",")}]`;
}

function versionBody(version: string): string {
  const [major, minor] = version.split(".");
  return JSON.stringify({ etcdserver: version, etcdcluster: `${major}.${minor}.0` });
}
