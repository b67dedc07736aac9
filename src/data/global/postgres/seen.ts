/** The blocks of keys that a transaction needs: read at once, changed in memory, written at once. */
import type { StoredEntry } from "../../../api/index.ts";
import type { Session } from "../../../runtime/postgres/index.ts";
import { blockOf, type SeenBlock } from "./seen-block.ts";

type Key = NonNullable<StoredEntry["key"]>;
type KnownBlock = SeenBlock & {
  readonly stream: number;
  readonly producer: string;
  readonly epoch: number;
};

export type Seen = ReturnType<typeof createSeen>;

/** Inside one transaction, which holds the rows of the cells locked. */
export function createSeen() {
  const blocks = new Map<string, KnownBlock>();
  const nameOf = (stream: number, { producer, epoch, sequence }: Key) =>
    `${stream}/${epoch}/${blockOf(sequence)}/${producer}`;
  return {
    /** The one that this key stands in; empty until `load`. */
    block(stream: number, key: Key): KnownBlock {
      const name = nameOf(stream, key);
      const known = blocks.get(name);
      if (known) return known;
      const { producer, epoch, sequence } = key;
      const made = {
        stream,
        producer,
        epoch,
        block: blockOf(sequence),
        ranges: [],
        changed: false,
      };
      blocks.set(name, made);
      return made;
    },
    async load(session: Session) {
      if (blocks.size === 0) return;
      const wanted = [...blocks.values()];
      const rows = await session.query(
        `SELECT s.stream, s.producer, s.epoch, s.block, s.ranges
         FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[]) AS w(stream, producer, epoch, block)
         JOIN skerry.seen s USING (stream, producer, epoch, block)`,
        [
          wanted.map(({ stream }) => stream),
          wanted.map(({ producer }) => producer),
          wanted.map(({ epoch }) => epoch),
          wanted.map(({ block }) => block),
        ],
        { name: "seen" },
      );
      for (const row of rows) {
        const name = `${row["stream"]}/${row["epoch"]}/${row["block"]}/${row["producer"]}`;
        const known = blocks.get(name);
        if (known) known.ranges = row["ranges"] as number[];
      }
    },
    changed: () => [...blocks.values()].filter(({ changed }) => changed),
  };
}
