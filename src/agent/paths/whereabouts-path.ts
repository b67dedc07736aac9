/**
 * The way of a node's own address to the others: over each link it tells where it is and hears where the
 * other is, so that whoever can be linked with can be found again, whatever desired state still says.
 * The link proves who speaks; nobody speaks of others.
 */
import * as z from "zod";
import { every } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import { hostField } from "../../runtime/config/index.ts";
import { addressesHere, isAddressHere } from "../../runtime/listen/index.ts";
import type { Link, Peer } from "../../transport/index.ts";
import type { Ground } from "../ground.ts";
import type { Place, Whereabouts } from "../whereabouts.ts";
import type { LinkPath } from "./link-path.ts";

const port = z.number().int().min(1).max(65_535);
const placeSchema = z.object({
  host: hostField,
  ports: z.object({ api: port, mesh: port, peers: port, ingress: port }),
});

const method = "node.place";
/** Soon after a start, which is when an address may be another; seldom afterwards, for peers that came back. */
const tellSoonMs = 1000;
const tellSeldomMs = 10_000;
const soonForMs = 60_000;
const askTimeoutMs = 2000;

export async function startWhereaboutsPath(
  ground: Pick<Ground, "clock" | "log" | "lifecycle" | "router" | "record">,
  deps: {
    whereabouts: Pick<Whereabouts, "told">;
    links: Pick<LinkPath, "linkTo" | "linked">;
    trustDomain: string;
    place: Place;
  },
): Promise<void> {
  const { clock, log, lifecycle, router, record } = ground;
  const { whereabouts, links, place } = deps;
  const own = new TextEncoder().encode(JSON.stringify(place));
  const hear = (name: string, body: Uint8Array) => {
    const said: unknown = JSON.parse(new TextDecoder().decode(body));
    const result = placeSchema.safeParse(said);
    if (result.success) return whereabouts.told(name, result.data);
    throw new SkerryError({
      code: "invalid-message",
      message: `${name} did not say where it is: ${z.prettifyError(result.error)}`,
    });
  };
  router.handle(method, async ({ peer, body }) => {
    hear(nodeOf(peer, deps.trustDomain), body);
    return own;
  });

  const toldOver = new WeakSet<Link>();
  const tell = async (name: string) => {
    const link = links.linkTo(name);
    if (!link || toldOver.has(link)) return;
    hear(name, await link.request(method, own, { timeoutMs: askTimeoutMs, priority: 0 }));
    toldOver.add(link);
  };
  let wasHere = true;
  const lookAtAddress = () => {
    const isHere = isAddressHere(record.host);
    if (wasHere && !isHere)
      log.error("this node's address is gone from this machine: nobody reaches it any more", {
        host: record.host,
        has: addressesHere(),
        hint: "bring it back, or start the node where the machine is now (skerry down, and skerry up --host ADDRESS)",
      });
    if (!wasHere && isHere) log.info("this node's address is back", { host: record.host });
    wasHere = isHere;
  };
  const startedMs = clock.monotonicMs();
  const look = async () => {
    lookAtAddress();
    await Promise.all(
      links
        .linked()
        .map((name) =>
          tell(name).catch((error: unknown) =>
            log.debug("a node did not take where this one is", { node: name, error }),
          ),
        ),
    );
  };
  await lifecycle.start(
    "where nodes are",
    () =>
      every(
        clock,
        () => (clock.monotonicMs() - startedMs < soonForMs ? tellSoonMs : tellSeldomMs),
        look,
        (error) => log.debug("where nodes are is not told now", { error }),
      ),
    (timer) => timer.cancel(),
  );
}

function nodeOf(peer: Peer, trustDomain: string): string {
  const [kind, name] = peer.path;
  if (kind === "node" && name !== undefined && peer.trustDomain === trustDomain) return name;
  throw new SkerryError({ code: "forbidden", message: `${peer.id} is no node of this cell` });
}
