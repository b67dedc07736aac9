/**
 * The contract of consumer groups: several members share what a node's store has of a stream, each
 * batch goes to one of them at a time, and what is not acknowledged before its deadline goes to another.
 * Every entry is delivered at least once; what is acknowledged is durable. A group lives in the store
 * of one node: on another node a group of the same name is another group.
 */
import { SkerryError } from "../../../lib/errors.ts";
import type { EntryInput } from "../../../api/index.ts";
import type { AppendAnswer, ReadEntry, Refused } from "../answers.ts";

export type GroupId = { readonly stream: string; readonly group: string };

/** Where a group begins, or goes on from after `seek`. */
export type GroupStart =
  | { readonly from: "oldest" | "newest" }
  /** The first entry measured at or after this time, and all that the store took in after it. */
  | { readonly fromMs: number }
  | { readonly after: string };

export type GroupStatus = GroupId & {
  /** Everything up to this cursor is acknowledged. */
  readonly position: string;
  /** Entries behind it, those under way included. */
  readonly lag: number;
  readonly underWay: number;
  /** Of deliveries under way. */
  readonly members: readonly string[];
};

export type TakeOptions = {
  /** Shown in status. */
  readonly member?: string;
  /** 1 to 10000; default 100. */
  readonly limit?: number;
  /** Until it is delivered again. 100 ms to 12 hours; default 30 s. */
  readonly ackMs?: number;
};

export type Delivery = {
  readonly delivery: string;
  /** 1, and one more each time it was not acknowledged, counted since the store was opened. */
  readonly attempt: number;
  readonly ackMs: number;
  readonly entries: readonly ReadEntry[];
};

export type AckAnswer =
  | {
      readonly state: "acknowledged";
      /** Of the results, when there were any: stored in the same transaction. */
      readonly results?: AppendAnswer & { readonly state: "stored" };
    }
  /** Acknowledged already, by this member or by one that it was delivered to later: nothing was changed. */
  | { readonly state: "done-before" }
  /** Of a group of the cell: another node holds it by now, and has what was not acknowledged. Nothing was changed. */
  | { readonly state: "fenced" }
  /** Part of it was: nothing was changed, and the rest is delivered again. */
  | { readonly state: "overtaken" }
  /** No delivery of this group, or from before it was moved: nothing was changed. */
  | { readonly state: "unknown" }
  | Refused;

/** All throw `stream-unknown` and, but for `create` and `list`, `group-unknown`. */
export interface ConsumerGroups<Status = GroupStatus> {
  /** One that is there stays as it is. Throws `invalid-group`, `invalid-cursor`, `groups-too-many`. */
  create(id: GroupId, start: GroupStart): Promise<Status & { readonly created: boolean }>;
  /** Replay, or skip: deliveries under way count for nothing any more. Throws `invalid-cursor`. */
  seek(id: GroupId, start: GroupStart): Promise<Status>;
  remove(id: GroupId): Promise<void>;
  list(stream: string): Promise<readonly Status[]>;
  status(id: GroupId): Promise<Status>;
  /**
   * The next batch for a member; undefined when there is none now. Throws `invalid-limit`,
   * `store-busy` when too many wait for their acknowledgement, and `segment-damaged` as `read` does.
   */
  take(id: GroupId, options: TakeOptions): Promise<Delivery | undefined>;
  /**
   * Commits that a delivery is done, and with it, in one transaction, the results: with them the
   * effect is exactly once, whoever else was given the same entries.
   */
  ack(id: GroupId, delivery: string, results?: readonly EntryInput[]): Promise<AckAnswer>;
  /** Moves the deadline to `ackMs` from now; false when it is no longer this member's. */
  extend(id: GroupId, delivery: string, ackMs: number): Promise<boolean>;
  /** Gives it back at once; false when it was not this member's. */
  release(id: GroupId, delivery: string): Promise<boolean>;
}

const ackMsMin = 100;
const ackMsMax = 12 * 3_600_000;
const groupName = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/;

/** Throws `invalid-group`. */
export function checkGroupName(group: string): void {
  if (groupName.test(group)) return;
  throw new SkerryError({
    code: "invalid-group",
    message: `group: "${group.slice(0, 100)}" is no name for a consumer group`,
    hint: "use 1 to 63 lower-case letters, digits, dots and dashes",
  });
}

/** Throws `invalid-limit`. */
export function checkAckMs(ackMs: number): number {
  if (Number.isSafeInteger(ackMs) && ackMs >= ackMsMin && ackMs <= ackMsMax) return ackMs;
  throw new SkerryError({
    code: "invalid-limit",
    message: `ackMs: ${ackMs} must be whole milliseconds from ${ackMsMin} to ${ackMsMax}`,
  });
}
