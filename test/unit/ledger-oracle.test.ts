/** Random commands against a map with revisions, the simplest thing that could be a ledger. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import * as fc from "fast-check";
import type { Ledger, LedgerEvent, Revision } from "../../src/ledger/index.ts";
import { bytes, openTestLedger, temporaryFolder, text } from "../support/ledger.ts";

type Entry = { value: string; createRevision: number; modRevision: number; version: number };
type State = ReadonlyMap<string, Entry>;

/** Keeps a whole copy of its state for every revision. */
class Oracle {
  readonly states: State[] = [new Map()];
  compacted = 0;

  get revision(): number {
    return this.states.length - 1;
  }

  get state(): State {
    return this.states[this.revision] ?? new Map<string, Entry>();
  }

  transact(
    when: readonly [string, number][],
    then: readonly [string, string | undefined][],
  ): boolean {
    if (when.some(([key, revision]) => (this.state.get(key)?.modRevision ?? 0) !== revision))
      return false;
    const next = new Map(this.state);
    const modRevision = this.revision + 1;
    let changed = false;
    for (const [key, value] of then) {
      const old = this.state.get(key);
      if (value === undefined) {
        changed = next.delete(key) || changed;
        continue;
      }
      changed = true;
      next.set(key, {
        value,
        createRevision: old?.createRevision ?? modRevision,
        modRevision,
        version: (old?.version ?? 0) + 1,
      });
    }
    if (changed) this.states.push(next);
    return true;
  }

  list(prefix: string, revision: number): [string, Entry][] {
    return [...(this.states[revision] ?? new Map<string, Entry>())]
      .filter(([key]) => key.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

const key = fc.constantFrom("a", "a/1", "a/2", "a/2/x", "a0", "b", "b/1", "~");
const value = fc.option(fc.string({ maxLength: 5 }), { nil: undefined });
const writes = fc.uniqueArray(fc.tuple(key, value), { maxLength: 4, selector: ([key]) => key });
const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("write" as const), writes }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("compare" as const),
      key,
      /** Compares with the revision that stands, or with the one this much earlier. */
      off: fc.constantFrom(0, 0, 0, 1, 2),
      writes,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("list" as const),
      prefix: fc.constantFrom("", "a", "a/", "b/", "c"),
      back: fc.nat(12),
      limit: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("compact" as const), back: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const) }) },
);

const operations = (pairs: readonly [string, string | undefined][]) =>
  pairs.map(([key, value]) =>
    value === undefined
      ? ({ type: "delete", key } as const)
      : ({ type: "put", key, value: bytes(value) } as const),
  );

async function listAll(ledger: Ledger, prefix: string, limit: number, atRevision: Revision) {
  const items: [string, Entry][] = [];
  for (let after: string | undefined, more = true; more; after = items.at(-1)?.[0]) {
    const page = await ledger.list(prefix, { limit, after, atRevision });
    assert.equal(page.revision, atRevision);
    more = page.more;
    for (const { key, value, createRevision, modRevision, version } of page.items)
      items.push([key, { value: text(value) ?? "", createRevision, modRevision, version }]);
  }
  return items;
}

/** The events from one state to the next, as text. */
function difference(before: State, now: State, revision: number): string[] {
  const lines: string[] = [];
  for (const [key, entry] of now)
    if (entry.modRevision === revision)
      lines.push(`${key}=${entry.value} was ${before.get(key)?.value}`);
  for (const [key, entry] of before)
    if (!now.has(key)) lines.push(`${key} gone was ${entry.value}`);
  return lines.sort();
}

const line = (event: LedgerEvent) =>
  event.type === "put"
    ? `${event.keyValue.key}=${text(event.keyValue.value)} was ${text(event.previous?.value)}`
    : `${event.key} gone was ${text(event.previous?.value)}`;

test("L3 to L8: the ledger answers as a map with revisions would", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 40 }), async (commands) => {
      await using folder = await temporaryFolder();
      const path = join(folder.path, "ledger.db");
      const oracle = new Oracle();
      let ledger = openTestLedger({ path });
      try {
        for (const next of commands) {
          switch (next.do) {
            case "write":
            case "compare": {
              const when: [string, number][] = [];
              if (next.do === "compare") {
                const stands = oracle.state.get(next.key)?.modRevision ?? 0;
                when.push([next.key, Math.max(0, stands - next.off)]);
              }
              const outcome = await ledger.transact(
                when.map(([key, revision]) => ({ key, modRevision: revision as Revision })),
                operations(next.writes),
              );
              const applied = oracle.transact(when, next.writes);
              assert.equal(outcome.state, applied ? "done" : "refused");
              assert.equal(outcome.revision, oracle.revision);
              break;
            }
            case "list": {
              const revision = Math.max(oracle.compacted, oracle.revision - next.back) as Revision;
              assert.deepEqual(
                await listAll(ledger, next.prefix, next.limit, revision),
                oracle.list(next.prefix, revision),
              );
              break;
            }
            case "compact": {
              const revision = Math.max(0, oracle.revision - next.back);
              await ledger.compact(revision as Revision);
              oracle.compacted = Math.max(oracle.compacted, revision);
              break;
            }
            case "restart":
              await ledger.close();
              ledger = openTestLedger({ path });
          }
        }
        assert.deepEqual(await watched(ledger, oracle), expected(oracle));
      } finally {
        await ledger.close();
      }
    }),
    { numRuns: 60 },
  );
});

async function watched(ledger: Ledger, oracle: Oracle): Promise<[number, string[]][]> {
  const seen: [number, string[]][] = [];
  if (oracle.revision === oracle.compacted) return seen;
  for await (const batch of ledger.watch("", { after: oracle.compacted as Revision })) {
    seen.push([batch.revision, batch.events.map(line).sort()]);
    if (batch.revision >= oracle.revision) break;
  }
  return seen;
}

function expected(oracle: Oracle): [number, string[]][] {
  const { states, compacted } = oracle;
  return states.slice(compacted + 1).map((state, i) => {
    const revision = compacted + 1 + i;
    return [revision, difference(states[revision - 1] ?? new Map(), state, revision)];
  });
}
