/**
 * Consumer groups of the cell: the position stands in the ledger, and one node at a time delivers, the
 * one that holds the group's claim. An acknowledgement is one transaction on condition of the claim's
 * fencing token and of the position before it, so that a node that was cut off, or stood still, can
 * acknowledge nothing once the claim has passed on. Invariants C6 to C9 stand in the README of data.
 */
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Log } from "../../../lib/log.ts";
import type { GroupLedger } from "../../ports.ts";
import type { Vector } from "../answers.ts";
import { pageLimit } from "../cursor.ts";
import {
  checkAckMs,
  checkGroupName,
  type ConsumerGroups,
  type Delivery,
  type GroupId,
  type GroupStart,
  type TakeOptions,
} from "../groups/groups.ts";
import type { StreamStore } from "../store.ts";
import { bytesOf, foldBytesDefault, folded, requireRoom } from "./fold.ts";
import { createHolders, type Found, type Known } from "./holders.ts";
import { beginAt, deliver, readNext, type Holding, type UnderWay } from "./holding.ts";
import {
  claimCharactersMax,
  claimName,
  decodeRecord,
  encodeRecord,
  recordKey,
  type GroupRecord,
} from "./record.ts";
import { beginningOf } from "./start.ts";

export type CellGroupStatus = GroupId & {
  readonly scope: "cell";
  /** The node that delivers now. */
  readonly holder: string | null;
  /** By origin: every entry up to this position is acknowledged. */
  readonly positions: Vector;
  /** Entries in this node's store that are not, those under way included. */
  readonly lag: number;
  /** Of this node, when it is the holder. */
  readonly underWay: number;
  readonly members: readonly string[];
};

export type CellGroups = ConsumerGroups<CellGroupStatus> & {
  /** Those that this node holds, with what it has of them that is not acknowledged. */
  held(): Promise<readonly (GroupId & { readonly lag: number })[]>;
  stop(): Promise<void>;
};

/** What happens to groups at this node. */
export interface CellGroupCounters {
  /** This node has the group now. */
  takenOver(id: GroupId): void;
  acknowledged(id: GroupId, entries: number): void;
  /** An acknowledgement of this node came when another had the group. */
  fenced(id: GroupId): void;
}

const ackMsDefault = 30_000;
/** How soon a holder with nothing to deliver notices that the group was moved by another node. */
const checkMs = 2000;
/** How soon a record that is large is looked at again for what may leave it. */
const foldAgainMs = 60_000;

export function createCellGroups(
  deps: {
    store: Pick<StreamStore, "read" | "vector" | "beyond">;
    ledger: GroupLedger;
    clock: Clock;
    log: Log;
    /** Default: nobody counts. */
    counters?: CellGroupCounters;
  },
  options: { ttlMs?: number; foldBytes?: number } = {},
): CellGroups {
  const { store, ledger, clock, counters } = deps;
  const { foldBytes = foldBytesDefault } = options;
  const fold = (id: GroupId, record: GroupRecord) =>
    folded(store, id, record, { node: ledger.node, bytes: foldBytes });
  const holders = createHolders(deps, options);
  const { find, knownOf, inTurn } = holders;

  const take = async (
    known: Known,
    { limit, ackMs, member }: { limit: number; ackMs: number; member: string | undefined },
  ): Promise<Delivery | undefined> => {
    if (known.claiming) return undefined;
    if (!holders.holdingOf(known)) {
      await find(known.id);
      if (!(await holders.claim(known, 0))) {
        holders.claimLater(known);
        return undefined;
      }
    }
    const { holding, id } = known;
    if (!holding) return undefined;
    const isFree = (batch: UnderWay) => batch.untilMs <= clock.monotonicMs();
    if (holding.underWay && !isFree(holding.underWay)) return undefined;
    holding.underWay ??= await readNext(store, id.stream, holding, limit);
    if (!holding.underWay) await look(known, holding);
    // Reading may have taken longer than the session lasts.
    if (!holding.underWay || !holders.holdingOf(known)) return undefined;
    return deliver(holding, holding.underWay, { ackMs, member, nowMs: clock.monotonicMs() });
  };
  /** Whether the group was moved, or removed, on another node. */
  const look = async (known: Known, holding: Holding) => {
    if (clock.monotonicMs() - holding.checkedMs < checkMs) return;
    holding.checkedMs = clock.monotonicMs();
    try {
      const found = await find(known.id);
      if (found.revision !== holding.revision) beginAt(holding, found, ledger.node);
    } catch (error) {
      if (error instanceof SkerryError && error.code === "group-unknown")
        await holders.giveBack(known);
      throw error;
    }
  };

  const acknowledge: CellGroups["ack"] = async (id, delivery, results = []) => {
    if (results.length > 0) {
      return {
        state: "refused",
        code: "invalid-request",
        message:
          "results: a group of the cell is acknowledged in the ledger, results are stored here",
        hint: "store results under a key of their own that a second time changes nothing, then acknowledge",
        retryable: false,
      };
    }
    const [, token, number] = /^(\d{1,15})\.(\d{1,15})\.\d{1,9}$/.exec(delivery) ?? [];
    if (token === undefined || number === undefined) return { state: "unknown" };
    const known = knownOf(id);
    const last = `${token}.${number}`;
    // The ledger decides, also for a session that is over here: its answer is the truth.
    const { holding } = known;
    if (holding?.token !== Number(token)) {
      const { record } = await find(id);
      if (record.last === last) return { state: "done-before" };
      counters?.fenced(id);
      return { state: "fenced" };
    }
    if (Number(number) <= holding.acknowledged) return { state: "done-before" };
    const { underWay } = holding;
    if (underWay?.number !== Number(number)) return { state: "unknown" };
    const record = await inShape(id, holding, {
      vector: underWay.vector,
      last,
      places: { ...holding.record.places, [ledger.node]: underWay.place },
    });
    const written = await ledger.write(recordKey(id), encodeRecord(record), {
      revision: holding.revision,
      fence: { name: claimName(id), token: holding.token },
    });
    switch (written.state) {
      case "done":
        holding.record = record;
        holding.revision = written.revision;
        holding.place = underWay.place;
        holding.acknowledged = underWay.number;
        holding.underWay = undefined;
        counters?.acknowledged(id, underWay.entries.length);
        return { state: "acknowledged" };
      case "fenced":
        known.holding = undefined;
        counters?.fenced(id);
        return { state: "fenced" };
      case "changed": {
        // By this very acknowledgement, whose answer was lost, or by a move of the group.
        const found = await find(id);
        beginAt(holding, found, ledger.node);
        if (found.record.last !== last) return { state: "unknown" };
        holding.acknowledged = underWay.number;
        return { state: "acknowledged" };
      }
      case "unknown":
        throw unknownWrite();
    }
  };

  /** Looked at again once a minute while nothing can leave it. */
  const inShape = async (
    id: GroupId,
    holding: Holding,
    record: GroupRecord,
  ): Promise<GroupRecord> => {
    const nowMs = clock.monotonicMs();
    if (bytesOf(record) <= foldBytes || nowMs < holding.foldAgainMs) return record;
    const small = await fold(id, record);
    if (bytesOf(small) > foldBytes) holding.foldAgainMs = nowMs + foldAgainMs;
    requireRoom(id, small);
    return small;
  };
  const beginning = async (id: GroupId, start: GroupStart): Promise<GroupRecord> => {
    const record = await fold(id, { vector: await beginningOf(store, id, start), places: {} });
    requireRoom(id, record);
    return record;
  };

  const statusOf = async (id: GroupId, { record }: Found): Promise<CellGroupStatus> => {
    const underWay = holders.underWay(id);
    const isUnderWay = underWay !== undefined && underWay.untilMs > clock.monotonicMs();
    return {
      ...id,
      scope: "cell",
      holder: (await ledger.holder(claimName(id))) ?? null,
      positions: record.vector,
      lag: (await store.beyond({ stream: id.stream, vector: record.vector })).entries,
      underWay: isUnderWay ? 1 : 0,
      members: isUnderWay && underWay.member !== undefined ? [underWay.member] : [],
    };
  };
  const onUnderWay = async (id: GroupId, delivery: string, untilMs: number): Promise<boolean> => {
    const known = knownOf(id);
    const holding = holders.holdingOf(known);
    const { underWay } = holding ?? {};
    if (!underWay || delivery !== `${holding?.token}.${underWay.number}.${underWay.attempt}`)
      return false;
    underWay.untilMs = untilMs;
    return true;
  };

  return {
    async create(id, start) {
      checkGroupName(id.group);
      if (claimName(id).length > claimCharactersMax)
        throw new SkerryError({
          code: "invalid-group",
          message: `group: ${id.stream} and ${id.group} have ${claimName(id).length - 1} characters`,
          hint: `a stream and its group of the cell have ${claimCharactersMax - 1} characters at most`,
        });
      const record = await beginning(id, start);
      const written = await ledger.write(recordKey(id), encodeRecord(record), { revision: 0 });
      if (written.state === "unknown") throw unknownWrite();
      return { ...(await statusOf(id, await find(id))), created: written.state === "done" };
    },
    async seek(id, start) {
      const { revision } = await find(id);
      const record = await beginning(id, start);
      const written = await ledger.write(recordKey(id), encodeRecord(record), { revision });
      if (written.state === "unknown") throw unknownWrite();
      if (written.state !== "done")
        throw new SkerryError({
          code: "write-contended",
          message: `group: a batch of ${id.group} was acknowledged while it was to be moved`,
          hint: "nothing was changed; send it again",
          retryable: true,
        });
      const known = knownOf(id);
      const found = { record, revision: written.revision };
      await inTurn(known, async () => {
        if (known.holding) beginAt(known.holding, found, ledger.node);
      });
      return statusOf(id, found);
    },
    async remove(id) {
      const { revision } = await find(id);
      const written = await ledger.write(recordKey(id), undefined, { revision });
      if (written.state !== "done") throw unknownWrite();
      const known = knownOf(id);
      await inTurn(known, () => holders.giveBack(known));
    },
    async list(stream) {
      await store.read({ stream, limit: 1 });
      const found = await ledger.list(`${stream}/`);
      const groups: CellGroupStatus[] = [];
      for (const { key, text, revision } of found) {
        const id = { stream, group: key.slice(stream.length + 1) };
        groups.push(await statusOf(id, { record: decodeRecord(text), revision }));
      }
      return groups;
    },
    status: async (id) => statusOf(id, await find(id)),

    async take(id, request: TakeOptions) {
      const limit = pageLimit(request.limit ?? 100);
      const ackMs = checkAckMs(request.ackMs ?? ackMsDefault);
      const known = knownOf(id);
      known.askedMs = clock.monotonicMs();
      return await inTurn(known, async () => {
        const { failure } = known;
        known.failure = undefined;
        if (failure !== undefined) throw failure;
        return await take(known, { limit, ackMs, member: request.member });
      });
    },
    ack: (id, delivery, results) => inTurn(knownOf(id), () => acknowledge(id, delivery, results)),
    async extend(id, delivery, ackMs) {
      return await onUnderWay(id, delivery, clock.monotonicMs() + checkAckMs(ackMs));
    },
    release: (id, delivery) => onUnderWay(id, delivery, clock.monotonicMs()),

    async held() {
      const held: (GroupId & { lag: number })[] = [];
      for (const { id, vector } of holders.held()) {
        try {
          held.push({ ...id, lag: (await store.beyond({ stream: id.stream, vector })).entries });
        } catch (error) {
          // The stream was deleted, and the group is about to be.
          if (!(error instanceof SkerryError && error.code === "stream-unknown")) throw error;
        }
      }
      return held;
    },
    stop: () => holders.stop(),
  };
}

const unknownWrite = () =>
  new SkerryError({
    code: "write-unknown",
    message: "the ledger did not answer in time; the write may have happened",
    hint: "send it again: what was done already changes nothing",
    retryable: true,
  });
