/**
 * What people want of the servers, in the ledger itself: wishes, one a node, how far each has come, who
 * was named to get the authority, and which members are gone for good. Whoever serves next reads on.
 */
import { SkerryError } from "../../lib/errors.ts";
import type { KeyValue, Ledger, Revision } from "../ledger.ts";
import type { Change } from "./plan.ts";
import type { Outcome } from "./run.ts";

export const serversPrefix = "servers/";
const wishesPrefix = `${serversPrefix}wishes/`;
const progressPrefix = `${serversPrefix}progress/`;
const grantsPrefix = `${serversPrefix}grants/`;
const removedPrefix = `${serversPrefix}removed/`;

export type Wish = {
  readonly change: Change;
  /** Who asked: a SPIFFE id. */
  readonly by: string;
  /** The cell's time, milliseconds since 1970. */
  readonly atMs: number;
};

export type StoredWish = Wish & { readonly revision: Revision };

export type Progress = {
  readonly change: Change;
  readonly lines: readonly string[];
  /** Absent while it goes on. */
  readonly outcome?: Outcome;
};

export interface ServersBook {
  /**
   * Keeps a wish, and with one that makes a server the grant of the authority. Answers the one that
   * stands for that node already, if there is one.
   */
  wish(wish: Wish): Promise<{ state: "kept" } | { state: "standing"; wish: Wish }>;
  /** Oldest first. */
  wishes(): Promise<readonly StoredWish[]>;
  /** Ends a wish and its grant, unless another stands there now. */
  settle(wish: StoredWish): Promise<void>;
  tell(node: string, progress: Progress): Promise<void>;
  progress(node: string): Promise<Progress | undefined>;
  /** Whether an administrator named this node to get the cell's authority. Linearizable. */
  isGranted(node: string): Promise<boolean>;
  endGrant(node: string): Promise<void>;
  /** A member that never comes back as that member. */
  markRemoved(memberId: string, node: string): Promise<void>;
  isRemoved(memberId: string): Promise<boolean>;
}

const heirOf = (change: Change): string | undefined => {
  switch (change.verb) {
    case "add":
      return change.node;
    case "replace":
      return change.by;
    case "remove":
    case "move-leader":
      return undefined;
  }
};

export function createServersBook(ledger: Ledger): ServersBook {
  const put = (key: string, value: unknown) => ({
    type: "put" as const,
    key,
    value: new TextEncoder().encode(JSON.stringify(value)),
  });
  const read = async <T>(key: string): Promise<T | undefined> => {
    const { keyValue } = await ledger.get(key);
    return keyValue && parse<T>(keyValue);
  };
  const write = async (operations: Parameters<Ledger["transact"]>[1]) => {
    const outcome = await ledger.transact([], operations);
    if (outcome.state === "unknown") throw unknown(outcome.cause);
  };

  return {
    async wish(wish) {
      const key = `${wishesPrefix}${wish.change.node}`;
      const heir = heirOf(wish.change);
      const outcome = await ledger.transact(
        [{ key, modRevision: 0 }],
        [
          put(key, wish),
          put(`${progressPrefix}${wish.change.node}`, { change: wish.change, lines: [] }),
          ...(heir === undefined
            ? []
            : [put(`${grantsPrefix}${heir}`, { by: wish.by, atMs: wish.atMs })]),
        ],
      );
      if (outcome.state === "done") return { state: "kept" };
      if (outcome.state === "unknown") throw unknown(outcome.cause);
      const [standing] = outcome.current;
      if (!standing) throw unknown(new Error("the wish that stood there has gone"));
      return { state: "standing", wish: parse<Wish>(standing) };
    },
    async wishes() {
      const { items } = await ledger.list(wishesPrefix);
      return items
        .map((keyValue) => ({ ...parse<Wish>(keyValue), revision: keyValue.modRevision }))
        .sort((a, b) => a.revision - b.revision);
    },
    async settle({ change, revision }) {
      const key = `${wishesPrefix}${change.node}`;
      const heir = heirOf(change);
      const outcome = await ledger.transact(
        [{ key, modRevision: revision }],
        [
          { type: "delete", key },
          // Whatever became of it: a grant is good for one wish.
          ...(heir === undefined
            ? []
            : [{ type: "delete" as const, key: `${grantsPrefix}${heir}` }]),
        ],
      );
      if (outcome.state === "unknown") throw unknown(outcome.cause);
    },
    tell: (node, progress) => write([put(`${progressPrefix}${node}`, progress)]),
    progress: (node) => read<Progress>(`${progressPrefix}${node}`),
    isGranted: async (node) => (await ledger.get(`${grantsPrefix}${node}`)).keyValue !== undefined,
    endGrant: (node) => write([{ type: "delete", key: `${grantsPrefix}${node}` }]),
    markRemoved: (memberId, node) => write([put(`${removedPrefix}${memberId}`, { node })]),
    isRemoved: async (memberId) =>
      (await ledger.get(`${removedPrefix}${memberId}`)).keyValue !== undefined,
  };
}

const parse = <T>({ value }: KeyValue): T => JSON.parse(new TextDecoder().decode(value)) as T;

const unknown = (cause: Error) =>
  new SkerryError({
    code: "ledger-unavailable",
    message: "whether the ledger took it is not known",
    hint: "look again: skerry server list",
    retryable: true,
    cause,
  });
