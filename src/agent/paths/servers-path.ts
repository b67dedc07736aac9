/**
 * The way of a wish about the cell's servers: the command line → cell API (any server) → the ledger's
 * book → whichever server performs it → steps (`server-steps.ts`), here or over the link of the node
 * concerned.
 */
import {
  endpointsOf,
  nodeKind,
  type Node,
  type ServerProgress,
  type ServersView,
} from "../../api/index.ts";
import type { MountedAnswer, MountedRequest, MountedRoute } from "../../apiserver/index.ts";
import type { Subject } from "../../identity/index.ts";
import {
  nodesOf,
  planChange,
  startPerformer,
  survivalOf,
  type Change,
  type Performer,
} from "../../ledger/index.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Ground } from "../ground.ts";
import { parseChange } from "../server-change.ts";
import { serverLines } from "../server-lines.ts";
import { createServersPort } from "../server-steps.ts";
import type { StatePath } from "./command-path.ts";
import type { LedgerPath } from "./ledger-path.ts";
import type { LinkPath } from "./link-path.ts";
import { startWitnessPath } from "./witness-path.ts";

export type ServersPath = {
  readonly routes: readonly MountedRoute[];
  /** A node joined with a token that makes it a server. */
  wish(change: Change, by: string): Promise<void>;
};

const prefix = "/skerry/v1/servers";

export async function startServersPath(
  ground: Ground,
  deps: {
    state: StatePath;
    ledger: LedgerPath;
    links: Pick<LinkPath, "linkTo">;
    trustDomain: string;
    /** Whether a majority of the servers has answered this one a moment ago. */
    hasQuorum: () => boolean;
  },
): Promise<ServersPath> {
  const { clock, log, lifecycle, record: node, nowMs } = ground;
  const { state, ledger } = deps;
  const witness = await startWitnessPath(ground, ledger);
  let nodes: readonly Node[] = [];
  state.mirrored.follow(nodeKind, (now: readonly Node[]) => (nodes = now));

  const port = createServersPort(ground, {
    ledger,
    links: deps.links,
    trustDomain: deps.trustDomain,
    witness,
    nodes: () => nodes,
  });
  let performer: Performer | undefined;
  if (ledger.ledger && ledger.book) {
    const { ledger: switching, book } = ledger;
    performer = await lifecycle.start(
      "servers",
      () => startPerformer({ clock, log, ledger: switching, book, port, self: node.node }),
      (part) => part.stop(),
    );
  }

  const wish: ServersPath["wish"] = async (change, by) => {
    const { book } = ledger;
    if (!book) throw notHere();
    const kept = await book.wish({ change, by, atMs: nowMs() });
    if (kept.state === "standing" && JSON.stringify(kept.wish.change) !== JSON.stringify(change))
      throw new SkerryError({
        code: "change-standing",
        message: `another change of ${change.node} is under way: ${kept.wish.change.verb}`,
        hint: "wait until it has ended: skerry server list",
        retryable: true,
      });
    performer?.kick();
  };

  const view = async (): Promise<ServersView> => {
    const record = ledger.record();
    const cluster = record && ledger.cluster();
    if (!record || !cluster) {
      const name = node.role === "server" ? node.node : "?";
      const servers = [{ name, kind: "server" as const, state: "leader" as const }];
      return { engine: "sqlite", quorum: "held", words: survivalOf(1), servers };
    }
    const names = new Set(nodes.flatMap((one) => (endpointsOf(one) ? [one.metadata.name] : [])));
    const witnesses = {
      all: ledger.witnesses(),
      // Without a quorum the ledger does not say until when their leaves are good.
      entries: await witness.entries().catch(() => []),
      nowMs: nowMs(),
    };
    const isNode = (name: string) => names.has(name);
    return await serverLines(cluster, record.endpoints, isNode, witnesses, deps.hasQuorum);
  };

  /** Told at once where nothing needs to be tried: before anything is written down. */
  const planned = async (change: Change) => {
    const plan = planChange(change, await port.observe(nodesOf(change)));
    if (plan.state !== "refused") return undefined;
    const { message, hint } = plan;
    const refusal = new SkerryError({ code: "invalid-change", message, hint });
    if (!plan.mayPass) throw refusal;
    return refusal;
  };

  const handle = async (request: MountedRequest): Promise<MountedAnswer> => {
    const [, name] = new RegExp(`^${prefix}/changes/([a-z0-9-]+)$`).exec(request.path) ?? [];
    if (!ledger.book) throw notHere();
    if (request.method === "GET" && name !== undefined) {
      const progress: ServerProgress = (await ledger.book.progress(name)) ?? { lines: [] };
      return json(200, progress);
    }
    if (request.method === "GET") return json(200, await view());
    const change = parseChange(await request.body());
    const refusal = await planned(change);
    try {
      await wish(change, request.subject.id);
    } catch (error) {
      // Without a quorum not even the wish can be kept; the plan says why in words.
      throw refusal ?? error;
    }
    return json(202, { change });
  };
  return { routes: [witness.route, { prefix, handle }], wish };
}

const json = (status: number, body: unknown): MountedAnswer => ({
  status,
  contentType: "application/json",
  body: JSON.stringify(body),
});
const notHere = () =>
  new SkerryError({
    code: "not-a-server",
    message: "only servers know the cell's servers",
    hint: "run this on a server machine of the cell",
  });

/** Of a node that joined by a token for servers: whoever it is, it shall be one. */
export const wishOf = ({ path }: Subject): Change => {
  const [, node = ""] = path;
  return { verb: "replace", node, by: node };
};
