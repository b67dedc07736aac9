/** All tables of a store of entries, made in the order in which they need each other. */
import type { Clock } from "../../lib/clock.ts";
import type { Database } from "../../runtime/sqlite/index.ts";
import { createCompaction, type Compaction } from "./compaction.ts";
import { createEntryTable, type EntryTable } from "./entry-table.ts";
import { createLogReads, type ReadLog } from "./log-reads.ts";
import { createHubLanes, type HubLanes } from "./lanes.ts";
import { createNames, type Names } from "./names.ts";
import { createRetention, type Retention } from "./retention.ts";
import { createSealing, type Sealing } from "./sealing.ts";
import type { SegmentDamaged } from "./segment-contents.ts";
import { createSegmentWrites } from "./segment-writes.ts";
import { createSegments, type Segments } from "./segments.ts";

export type Tables = {
  readonly names: Names;
  readonly lanes: HubLanes;
  readonly segments: Segments;
  readonly sealing: Sealing;
  readonly compaction: Compaction;
  readonly entries: EntryTable;
  readonly readLog: ReadLog;
  readonly retention: Retention;
  /** After a rollback: what was kept in memory of it is read anew. */
  forget(): void;
};

export function createTables(deps: {
  clock: Clock;
  db: Database;
  /** A segment was found damaged that nobody knew of. */
  onDamaged?: (found: SegmentDamaged) => void;
}): Tables {
  const { db } = deps;
  const names = createNames(db);
  const lanes = createHubLanes(db, names);
  const segments = createSegments(db, names, deps.onDamaged);
  const writes = createSegmentWrites(db, segments);
  const sealing = createSealing(db, { names, segments, writes });
  const entries = createEntryTable(db, { names, segments });
  const retention = createRetention(deps, { names, lanes, segments, sealing, entries });
  return {
    names,
    lanes,
    segments,
    sealing,
    compaction: createCompaction(db, { names, segments, sealing, writes }),
    entries,
    readLog: createLogReads(db, { names, segments }),
    retention,
    forget() {
      for (const part of [names, lanes, segments, entries, retention]) part.forget();
    },
  };
}
