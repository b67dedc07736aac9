/**
 * Consumer groups in the storage thread. Acknowledgements are committed; who has what until when is
 * kept in memory only: after a restart everything that was not acknowledged is delivered anew (C1).
 */
import type { EntryInput } from "../../../api/index.ts";
import type { Clock } from "../../../lib/clock.ts";
import { SkerryError } from "../../../lib/errors.ts";
import type { Random } from "../../../lib/random.ts";
import type { Writer } from "../../../runtime/sqlite/index.ts";
import { pageLimit } from "../cursor.ts";
import type { AppendAnswer, ReadEntry, Refused } from "../store.ts";
import { addBlock, coverage, firstGap, type Block } from "./blocks.ts";
import { groupKey, type GroupRow, type GroupTable } from "./group-table.ts";
import {
  checkAckMs,
  checkGroupName,
  type ConsumerGroups,
  type Delivery,
  type GroupId,
  type GroupStart,
  type GroupStatus,
} from "./groups.ts";

/** What groups need of the store they are in; ids are places in its merged view. */
export type GroupSource = {
  /** Throws `stream-unknown`. */
  require(stream: string): void;
  page(query: { stream: string; afterId: number; fromMs: number; limit: number }): {
    readonly entries: readonly ReadEntry[];
    readonly ids: readonly number[];
    readonly lastId: number;
    readonly more: boolean;
  };
  countAfter(stream: string, id: number): number;
  newestId(): number;
  parseCursor(cursor: string): number;
  cursorOf(id: number): string;
  check(entries: readonly EntryInput[]): Refused | undefined;
  /**
   * In a transaction that also adds these entries; what a full disk or too many producers mean is an
   * answer. Finds room on a full disk as an entry of `also` would.
   */
  write<T>(
    entries: readonly EntryInput[],
    work: () => T,
    also: readonly string[],
  ): Promise<T | Refused>;
  /** Inside a transaction. */
  add(entries: readonly EntryInput[]): AppendAnswer;
};

const groupsMax = 1000;
const underWayMax = 256;
const ackMsDefault = 30_000;

type UnderWay = {
  readonly block: Block;
  readonly attempt: number;
  readonly member: string | undefined;
  untilMs: number;
};

export function createGroups(
  deps: { clock: Clock; random: Random; writer: Writer; table: GroupTable },
  source: GroupSource,
): ConsumerGroups {
  const { clock, random, writer, table } = deps;
  const underWayByGroup = new Map<string, Map<string, UnderWay>>();

  const underWayOf = (id: GroupId): Map<string, UnderWay> => {
    const known = underWayByGroup.get(groupKey(id)) ?? new Map<string, UnderWay>();
    underWayByGroup.set(groupKey(id), known);
    return known;
  };
  const requireRow = (id: GroupId): GroupRow => {
    source.require(id.stream);
    const row = table.find(id);
    if (row) return row;
    throw new SkerryError({
      code: "group-unknown",
      message: `group: stream ${id.stream} has no consumer group "${id.group.slice(0, 100)}" on this node`,
      hint: "create it first: PUT /v1/streams/STREAM/groups/GROUP; a group lives on one node",
    });
  };

  const idOf = (stream: string, start: GroupStart): number => {
    if ("after" in start) return source.parseCursor(start.after);
    if ("from" in start) return start.from === "oldest" ? 0 : source.newestId();
    for (let afterId = 0; ;) {
      const page = source.page({ stream, afterId, fromMs: start.fromMs, limit: 1 });
      const [first] = page.ids;
      if (first !== undefined) return first - 1;
      if (!page.more) return page.lastId;
      afterId = page.lastId;
    }
  };
  /** A name that no delivery bears yet: of a group that was moved, or made anew under its old name. */
  const beginning = (stream: string, start: GroupStart): GroupRow => ({
    generation: random.integer(2 ** 32),
    done: [[0, idOf(stream, start)]],
  });
  const positionOf = ({ done }: GroupRow): number => firstGap(done, 0)[0];

  const statusOf = (id: GroupId, row: GroupRow): GroupStatus => {
    const position = positionOf(row);
    const underWay = [...underWayOf(id).values()].filter(
      ({ untilMs }) => untilMs > clock.monotonicMs(),
    );
    return {
      ...id,
      position: source.cursorOf(position),
      lag: source.countAfter(id.stream, position),
      underWay: underWay.length,
      members: [...new Set(underWay.flatMap(({ member }) => member ?? []))].sort(),
    };
  };

  /** Up to `limit` entries of a block, and what of the block they cover. */
  const read = (
    id: GroupId,
    [after, to]: Block,
    limit: number,
  ): { block: Block; entries: ReadEntry[] } => {
    for (let afterId = after; ;) {
      const page = source.page({ stream: id.stream, afterId, fromMs: 0, limit });
      const entries = page.entries.filter((_, index) => (page.ids[index] ?? 0) <= to);
      const end = Math.min(to, page.lastId);
      if (entries.length > 0 || !page.more || end === to) return { block: [after, end], entries };
      afterId = page.lastId;
    }
  };

  const deliver = (
    id: GroupId,
    { generation }: GroupRow,
    given: { block: Block; entries: ReadEntry[]; attempt: number; ackMs: number; member?: string },
  ): Delivery => {
    const { block, entries, attempt, ackMs, member } = given;
    const delivery = `${generation}.${block[0]}.${block[1]}.${attempt}`;
    const untilMs = clock.monotonicMs() + ackMs;
    underWayOf(id).set(delivery, { block, attempt, member, untilMs });
    return { delivery, attempt, ackMs, entries };
  };

  /** The block of a delivery of the group as it is now. */
  const blockOf = ({ generation }: GroupRow, delivery: string): Block | undefined => {
    const [, of, after, to] = /^(\d{1,15})\.(\d{1,15})\.(\d{1,16})\.\d{1,9}$/.exec(delivery) ?? [];
    const block: Block = [Number(after), Number(to)];
    const isOurs =
      of === String(generation) && block[0] < block[1] && block[1] <= source.newestId();
    return isOurs ? block : undefined;
  };
  const dropOverlapping = (id: GroupId, block: Block) => {
    for (const [delivery, other] of underWayOf(id))
      if (coverage([block], other.block) !== "none") underWayOf(id).delete(delivery);
  };

  /** Without the gaps in front whose entries retention took: nobody will acknowledge them. */
  const closed = (id: GroupId, done: readonly Block[]): readonly Block[] => {
    const [after, to] = firstGap(done, 0);
    if (to === Number.MAX_SAFE_INTEGER) return done;
    const isEmpty = read(id, [after, to], 1).entries.length === 0;
    return isEmpty ? closed(id, addBlock(done, [after, to])) : done;
  };

  return {
    async create(id, start) {
      source.require(id.stream);
      checkGroupName(id.group);
      const known = table.find(id);
      if (known) return { ...statusOf(id, known), created: false };
      if (table.count >= groupsMax) {
        throw new SkerryError({
          code: "groups-too-many",
          message: `this node has ${groupsMax} consumer groups already`,
          hint: "delete those that nobody reads with: DELETE /v1/streams/STREAM/groups/GROUP",
        });
      }
      const row = beginning(id.stream, start);
      await writer.write(() => table.write(id, row));
      return { ...statusOf(id, row), created: true };
    },

    async seek(id, start) {
      requireRow(id);
      const row = beginning(id.stream, start);
      await writer.write(() => table.write(id, row));
      underWayOf(id).clear();
      return statusOf(id, row);
    },

    async remove(id) {
      requireRow(id);
      await writer.write(() => table.remove(id));
      underWayByGroup.delete(groupKey(id));
    },

    async list(stream) {
      source.require(stream);
      return table.list(stream).map(({ id, row }) => statusOf(id, row));
    },
    async status(id) {
      return statusOf(id, requireRow(id));
    },

    async take(id, options) {
      const row = requireRow(id);
      const limit = pageLimit(options.limit ?? 100);
      const ackMs = checkAckMs(options.ackMs ?? ackMsDefault);
      const { member } = options;
      const underWay = underWayOf(id);
      const nowMs = clock.monotonicMs();
      const overdue = [...underWay].filter(([, { untilMs }]) => untilMs <= nowMs);
      for (const [delivery, { block, attempt }] of overdue.sort(byBlock)) {
        underWay.delete(delivery);
        const { entries, block: found } = read(id, block, limit);
        // What retention removed meanwhile is not waited for; with a smaller limit the rest is free again.
        if (entries.length > 0)
          return deliver(id, row, { block: found, entries, attempt: attempt + 1, ackMs, member });
      }
      if (underWay.size >= underWayMax) {
        throw new SkerryError({
          code: "store-busy",
          message: `${underWay.size} deliveries of group ${id.group} wait for their acknowledgement`,
          hint: "acknowledge what was taken, or wait for its deadline",
          retryable: true,
        });
      }
      const taken = [...underWay.values()].reduce<readonly Block[]>(
        (blocks, { block }) => addBlock(blocks, block),
        row.done,
      );
      for (let [after, to] = firstGap(taken, 0); after < source.newestId();) {
        const { entries, block } = read(id, [after, to], limit);
        if (entries.length > 0)
          return deliver(id, row, { block, entries, attempt: 1, ackMs, member });
        [after, to] = firstGap(taken, to);
      }
      return undefined;
    },

    async ack(id, delivery, results = []) {
      requireRow(id);
      const refused = source.check(results);
      if (refused) return refused;
      const commit = () => {
        const row = requireRow(id);
        const block = blockOf(row, delivery);
        if (!block) return { state: "unknown" } as const;
        const covered = coverage(row.done, block);
        if (covered !== "none")
          return { state: covered === "all" ? "done-before" : "overtaken", block } as const;
        table.write(id, { ...row, done: closed(id, addBlock(row.done, block)) });
        const stored = results.length === 0 ? undefined : source.add(results);
        return { state: "acknowledged", block, results: stored } as const;
      };
      const answer = await source.write(results, commit, [id.stream]);
      if (answer.state === "unknown" || answer.state === "refused") return answer;
      dropOverlapping(id, answer.block);
      if (answer.state !== "acknowledged") return { state: answer.state };
      return answer.results?.state === "stored"
        ? { state: "acknowledged", results: answer.results }
        : { state: "acknowledged" };
    },

    async extend(id, delivery, ackMs) {
      const row = requireRow(id);
      const block = blockOf(row, delivery);
      const untilMs = clock.monotonicMs() + checkAckMs(ackMs);
      const known = underWayOf(id).get(delivery);
      if (known) known.untilMs = untilMs;
      return known !== undefined && block !== undefined;
    },
    async release(id, delivery) {
      requireRow(id);
      const known = underWayOf(id).get(delivery);
      if (known) known.untilMs = clock.monotonicMs();
      return known !== undefined;
    },
  };
}

const byBlock = (a: readonly [string, UnderWay], b: readonly [string, UnderWay]) =>
  a[1].block[0] - b[1].block[0];
