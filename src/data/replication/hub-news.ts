/**
 * What the hub has, for a node without a link to it: the others send its log there, and only they hear so.
 * While something here is not known to be there, and the hub says nothing itself, it asks them. Who answers
 * tells what the hub said to it on a link that stands, and never what it heard in this way.
 */
import { every, type Clock } from "../../lib/clock.ts";
import { isAbort, SkerryError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Link, Router } from "../../transport/index.ts";
import { peerNode } from "./peer-node.ts";

/** What is told and heard; as messages, of streams or of documents (`hub-word.ts`). */
export interface HubWord {
  /** The hub itself can be asked here. */
  readonly connected: boolean;
  /** Something here is not known to be at the hub. */
  isWaiting(): Promise<boolean>;
  question(): Uint8Array;
  /** What the hub said. Throws `invalid-message`. */
  answer(question: Uint8Array): Uint8Array;
  /** Throws `invalid-message`. */
  hear(answer: Uint8Array): Promise<void>;
}

export interface HubNews {
  /** Answers `data.hub`, or what `methods` says instead of `data`. */
  register(router: Router): void;
  /** Asks over this link until it closes; the newest to a node is the one used. */
  attach(link: Link): void;
  stop(): void;
}

/** Until who had no word of the hub is asked again. */
const quietMs = 5000;

export function createHubNews(
  deps: {
    readonly word: HubWord;
    /** Whether the cell has a hub, of which a node may hear late. Absent: it has. */
    readonly hasHub?: () => boolean;
    readonly clock: Clock;
    readonly log: Log;
  },
  options: {
    /** Default "data". */
    readonly methods?: string;
    readonly trustDomain: string;
    /** Default 1000. */
    readonly periodMs?: number;
    /** Default 20,000. */
    readonly requestTimeoutMs?: number;
  },
): HubNews {
  const { word, clock, log } = deps;
  const method = `${options.methods ?? "data"}.hub`;
  const timeoutMs = options.requestTimeoutMs ?? 20_000;
  /** By node; when it is to be asked again. */
  const peers = new Map<string, { readonly link: Link; dueMs: number }>();

  const ask = async (node: string, peer: { readonly link: Link; dueMs: number }) => {
    const { link } = peer;
    // Not again while it is under way.
    peer.dueMs = Infinity;
    let isQuiet = true;
    try {
      const answer = await link.request(method, word.question(), { timeoutMs, priority: 0 });
      isQuiet = answer.length === 0;
      if (!isQuiet) await word.hear(answer);
    } catch (error) {
      if (link.closed.aborted || isAbort(error)) return;
      // A peer of an earlier version: it is asked no more.
      if (error instanceof SkerryError && error.code === "unknown-method") return;
      log.debug("a peer did not say what the hub has", { peer: node, error });
    }
    peer.dueMs = clock.monotonicMs() + (isQuiet ? quietMs : 0);
  };
  const round = async () => {
    const due = [...peers].filter(([, { dueMs }]) => dueMs <= clock.monotonicMs());
    if (deps.hasHub?.() === false) return;
    if (word.connected || due.length === 0 || !(await word.isWaiting())) return;
    for (const [node, peer] of due) void ask(node, peer);
  };
  const rounds = every(clock, options.periodMs ?? 1000, round, (error) =>
    log.warn("others were not asked what the hub has; it is tried again", { error }),
  );

  return {
    register(router) {
      router.handle(method, async ({ peer, body }) => {
        peerNode(peer, options.trustDomain);
        return word.connected ? word.answer(body) : new Uint8Array();
      });
    },
    attach(link) {
      const node = peerNode(link.peer, options.trustDomain);
      const peer = { link, dueMs: 0 };
      peers.set(node, peer);
      const forget = () => {
        if (peers.get(node) === peer) peers.delete(node);
      };
      link.closed.addEventListener("abort", forget, { once: true });
      if (link.closed.aborted) forget();
    },
    stop: () => rounds.cancel(),
  };
}
