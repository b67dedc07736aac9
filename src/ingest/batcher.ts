/**
 * Group append: messages of all clients that arrive in one turn of the event loop travel to the
 * store as one batch per durability level, so that they share an fsync. Bounded: beyond
 * `waitingMax` entries a submission is refused at once. A batch that was refused for its content is
 * sent again message by message, so that nobody is refused for a neighbour's fault.
 */
import {
  formatDurabilityLevel,
  type AppendOutcome,
  type DurabilityLevel,
  type EntryInput,
} from "../api/index.ts";
import { encodeError } from "../lib/errors.ts";
import type { Append } from "./ports.ts";

export interface Batcher {
  /** Never throws: what the store threw comes back as `refused`. */
  submit(entries: readonly EntryInput[], level: DurabilityLevel): Promise<AppendOutcome>;
  /** Entries submitted and not answered. */
  readonly waiting: number;
}

export type BatcherOptions = {
  /** Entries in one batch. Default 1024. */
  readonly entriesMax?: number;
  /** Entries that may wait for their answer. Default 16384. */
  readonly waitingMax?: number;
  /** How long the store may take to reach a level. Default 10 s. */
  readonly timeoutMs?: number;
};

type Submission = {
  readonly entries: readonly EntryInput[];
  readonly resolve: (outcome: AppendOutcome) => void;
};

export function createBatcher(deps: { append: Append }, options: BatcherOptions = {}): Batcher {
  const entriesMax = options.entriesMax ?? 1024;
  const waitingMax = options.waitingMax ?? 16_384;
  const timeoutMs = options.timeoutMs ?? 10_000;
  const openByLevel = new Map<string, { level: DurabilityLevel; submissions: Submission[] }>();
  let waiting = 0;
  let scheduled = false;

  const append = async (entries: readonly EntryInput[], level: DurabilityLevel) => {
    try {
      return await deps.append(entries, { level, timeoutMs });
    } catch (error) {
      const { code, message, hint, retryable } = encodeError(error);
      return { state: "refused", code, message, retryable, ...(hint ? { hint } : {}) } as const;
    }
  };

  const send = async (submissions: readonly Submission[], level: DurabilityLevel) => {
    const outcome = await append(
      submissions.flatMap(({ entries }) => entries),
      level,
    );
    if (outcome.state === "refused" && !outcome.retryable && submissions.length > 1) {
      for (const submission of submissions) {
        submission.resolve(await append(submission.entries, level));
      }
      return;
    }
    for (const { resolve } of submissions) resolve(outcome);
  };

  const flush = () => {
    scheduled = false;
    for (const { level, submissions } of openByLevel.values()) {
      let group: Submission[] = [];
      let entries = 0;
      for (const submission of submissions) {
        if (entries > 0 && entries + submission.entries.length > entriesMax) {
          void send(group, level);
          group = [];
          entries = 0;
        }
        group.push(submission);
        entries += submission.entries.length;
      }
      if (group.length > 0) void send(group, level);
    }
    openByLevel.clear();
  };

  return {
    async submit(entries, level) {
      if (waiting + entries.length > waitingMax) {
        return {
          state: "refused",
          code: "store-busy",
          message: `${waiting} entries wait for the store`,
          hint: "slow down and send again; nothing was written",
          retryable: true,
        };
      }
      waiting += entries.length;
      const outcome = await new Promise<AppendOutcome>((resolve) => {
        const name = formatDurabilityLevel(level);
        const open = openByLevel.get(name) ?? { level, submissions: [] };
        openByLevel.set(name, open);
        open.submissions.push({ entries, resolve });
        if (scheduled) return;
        scheduled = true;
        // After the poll phase: every client's messages that arrived meanwhile share the batch.
        setImmediate(flush);
      });
      waiting -= entries.length;
      return outcome;
    },
    get waiting() {
      return waiting;
    },
  };
}

const rank = { memory: 0, local: 1, peer: 2, hub: 3 } as const;

/** The level that promises most. */
export function strongest(levels: readonly DurabilityLevel[]): DurabilityLevel {
  return levels.reduce(
    (best, level) =>
      rank[level.level] > rank[best.level] ||
      (level.level === "peer" && best.level === "peer" && level.peers > best.peers)
        ? level
        : best,
    { level: "memory" },
  );
}
