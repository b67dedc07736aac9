/**
 * Fetches damaged segments again: from the other nodes of the cell, one after another, then from the
 * hub, where what leaves is all of an entry. Begins when damage is found, and tries again as links come
 * and now and then. Who reads what is damaged waits for that a moment (`whole`). What every node of the
 * cell and the hub said that they do not have is lost: the log then goes on without it.
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import { isAbort, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Metrics } from "../../runtime/metrics/index.ts";
import type { Link, Router } from "../../transport/index.ts";
import type { Damage, PositionRange, SegmentRepairs } from "../streams/repairs.ts";
import { decodeCopyQuery, encodeJson } from "./messages.ts";
import { peerNode } from "./peer-node.ts";

export type SegmentRepairOptions = {
  readonly node: string;
  readonly trustDomain: string;
  /** Between two tries that brought nothing. Default 30,000. */
  readonly retryMs?: number;
  /** How long a reader waits for a copy. Default 3000. */
  readonly readerWaitMs?: number;
  /** Of one question. Default 10,000. */
  readonly requestTimeoutMs?: number;
};

export interface SegmentRepair {
  /** Answers `data.copy`. */
  register(router: Router): void;
  /** To another node of the cell. */
  attachPeer(link: Link): void;
  attachHub(link: Link): void;
  /** The names of all nodes of the cell, this one included, and whether it has a hub. */
  expect(cell: { nodes: readonly string[]; hub: boolean }): void;
  /** What `read` answers; when it meets damage, again once that was fetched. Throws what `read` throws. */
  whole<T>(read: () => Promise<T>): Promise<T>;
  stop(): void;
}

type Source = { readonly name: string; readonly link: Link; readonly method: string };

/** No name of a node: those have no spaces. */
const hubName = "the hub";
/** Damaged segments that one page can begin with, one behind another, for one reader to wait for. */
const tellsMax = 8;

export function createSegmentRepair(
  deps: { repairs: SegmentRepairs; clock: Clock; log: Log; metrics: Metrics },
  options: SegmentRepairOptions,
): SegmentRepair {
  const { repairs, clock, log } = deps;
  const { retryMs = 30_000, readerWaitMs = 3000, requestTimeoutMs = 10_000 } = options;
  const restored = deps.metrics.counter(
    "skerry_stream_segments_restored_total",
    "Damaged segments that were put together again, by where the last part came from: peer or hub.",
    ["from"],
  );
  const linksByNode = new Map<string, Link>();
  let hub: Link | undefined;
  let expected: { nodes: readonly string[]; hub: boolean } = { nodes: [], hub: false };
  let running: Promise<number> | undefined;
  /** Something was found, or came, that the running round may not know of. */
  let isBehind = false;
  let retry: Timer | undefined;
  const ended = new AbortController();
  const { signal } = ended;

  const sources = (): readonly Source[] => [
    ...[...linksByNode].map(([name, link]) => ({ name, link, method: "data.copy" })),
    ...(hub ? [{ name: hubName, link: hub, method: "hub.copy" }] : []),
  ];

  const ask = async (
    { link, method }: Source,
    damage: Damage,
    ranges: readonly PositionRange[],
  ) => {
    const { stream, fromMs, toMs } = damage;
    const copies: Uint8Array[] = [];
    for (const range of ranges) {
      const body = encodeJson({ ...range, stream, fromMs, toMs });
      copies.push(await link.request(method, body, { timeoutMs: requestTimeoutMs, priority: 1 }));
    }
    return copies;
  };

  /** Whether it is whole now. */
  const restore = async (damage: Damage): Promise<boolean> => {
    const { segment } = damage;
    const answered = new Set([options.node]);
    const copies: Uint8Array[] = [];
    let wanted = damage.ranges;
    for (const source of sources()) {
      const isHub = source.method === "hub.copy";
      try {
        copies.push(...(await ask(source, damage, wanted)));
        answered.add(isHub ? hubName : source.name);
        const answer = await repairs.restore({ segment, copies, exact: isHub });
        if (answer.state === "restored") {
          if (answer.entries > 0) restored.inc({ from: isHub ? "hub" : "peer" });
          return true;
        }
        if (answer.state === "lacking") wanted = answer.ranges;
        else log.debug("a damaged segment cannot be put together", { segment, why: answer.state });
      } catch (error) {
        // The next one may have it; `whole` and status say what stays damaged.
        if (!isAbort(error) && !source.link.closed.aborted)
          log.debug("no copy of a damaged segment from here", { from: source.name, error });
      }
    }
    // Not before it is known who there is: a log that is sent without these is not sent again.
    const everybody = [...expected.nodes, ...(expected.hub ? [hubName] : [])];
    if (expected.nodes.includes(options.node) && everybody.every((name) => answered.has(name)))
      await repairs.giveUp(segment);
    return false;
  };

  const round = async (): Promise<number> => {
    let whole = 0;
    const damaged = await repairs.damage();
    for (const damage of damaged) if (!signal.aborted && (await restore(damage))) whole++;
    retry?.cancel();
    if (whole < damaged.length && !signal.aborted) retry = clock.after(retryMs, hint);
    return whole;
  };
  /** How many segments it made whole. */
  const run = (): Promise<number> => {
    running ??= (async () => {
      let whole = 0;
      do {
        isBehind = false;
        whole += await round();
      } while (isBehind && !signal.aborted);
      return whole;
    })().finally(() => (running = undefined));
    return running;
  };
  const hint = () => {
    isBehind = true;
    run().catch((error: unknown) => {
      if (!signal.aborted)
        log.warn("damaged segments were not fetched; it is tried again", { error });
    });
  };
  const unsubscribe = repairs.on("damaged", hint);

  const attach = (link: Link, set: () => void, unset: () => void) => {
    set();
    link.closed.addEventListener("abort", unset, { once: true });
    if (link.closed.aborted) unset();
    else hint();
  };

  /** Whether something was made whole while a reader waited for it. */
  const isMended = async (): Promise<boolean> => {
    const late = Promise.withResolvers<number>();
    const timer = clock.after(readerWaitMs, () => late.resolve(0));
    try {
      return (await Promise.race([run(), late.promise])) > 0;
    } finally {
      timer.cancel();
    }
  };

  return {
    register(router) {
      router.handle("data.copy", ({ peer, body }) => {
        peerNode(peer, options.trustDomain);
        return repairs.copy(decodeCopyQuery(body));
      });
    },
    attachPeer(link) {
      const node = peerNode(link.peer, options.trustDomain);
      const unset = () => {
        if (linksByNode.get(node) === link) linksByNode.delete(node);
      };
      attach(link, () => linksByNode.set(node, link), unset);
    },
    attachHub(link) {
      const unset = () => {
        if (hub === link) hub = undefined;
      };
      attach(link, () => (hub = link), unset);
    },
    async whole(read) {
      for (let tries = 1; ; tries++) {
        try {
          return await read();
        } catch (error) {
          if (!isDamage(error) || tries > tellsMax || !(await isMended())) throw error;
        }
      }
    },
    expect(cell) {
      expected = cell;
    },
    stop() {
      ended.abort();
      retry?.cancel();
      unsubscribe();
    },
  };
}

const isDamage = (error: unknown) =>
  error instanceof SkerryError && error.code === "segment-damaged";
