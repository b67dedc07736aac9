/**
 * Drives a strong collection from several nodes at once and records what each client saw: documents
 * that are put, deleted and swapped on condition (registers), a pair of documents that only batches
 * write (one register), and a document that every client appends to.
 */
import type { HistoryOperation } from "../../src/drill/checkers/linearizability.ts";
import type { CollectionDeclaration, DocumentWrite } from "../../src/data/documents/store.ts";
import type { StrongCaller } from "../../src/data/index.ts";
import type { StrongAnswer, StrongDocuments } from "../../src/data/strong/documents.ts";
import type { StrongDocument } from "../../src/data/strong/stored.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import { hostDeps } from "./ledger.ts";
import { accounts } from "./strong.ts";

/** A client of one node. */
export type StrongActor = Pick<StrongDocuments, "write" | "read" | "list">;

/** One of a document that is only ever appended to. */
export type LogOperation = {
  readonly client: number;
  readonly calledAt: number;
  /** Absent: unknown. */
  readonly answeredAt: number | undefined;
} & (
  | { readonly type: "append"; readonly value: string }
  | { readonly type: "read"; readonly values: readonly string[] }
);

export type StrongHistory = {
  readonly registers: readonly HistoryOperation[];
  readonly log: readonly LogOperation[];
  /** Listings in which a batch stood in part. */
  readonly torn: readonly string[];
  readonly outcomes: Readonly<Record<"done" | "refused" | "unknown" | "failed", number>>;
};

const strongCollection = accounts.name;
/** What the documents of a history need of it. */
export const historyCollection: CollectionDeclaration = {
  ...accounts,
  fields: accounts.fields.map((field) => ({ ...field, required: false })),
};
const caller: StrongCaller = { id: "spiffe://mill.skerry/app/a", token: "good-a" };
const pair = ["p0", "p1"] as const;
const logId = "log";

/** What is thrown by whoever is asked, and changed nothing. */
const undone = [
  "write-contended",
  "quorum-lost",
  "server-lost",
  "ledger-unavailable",
  "coordination-busy",
];

export type StrongHistoryOptions = {
  readonly seed: number;
  /** At each node. */
  readonly clients: number;
  readonly keys: number;
  /** Whether a client is through, by how many operations it has made. */
  readonly isOver: (operations: number) => boolean;
  /** Of a hundred operations, those that delete. Default 6. */
  readonly deletions?: number;
  /** On which a client waits that was refused. Default the host's. */
  readonly clock?: Pick<Clock, "sleep">;
};

export async function recordStrongHistory(
  nodes: readonly StrongActor[],
  options: StrongHistoryOptions,
): Promise<StrongHistory> {
  const { clock = hostDeps.clock } = options;
  const registers: HistoryOperation[] = [];
  const log: LogOperation[] = [];
  const torn: string[] = [];
  const outcomes = { done: 0, refused: 0, unknown: 0, failed: 0 };
  let now = 0;
  type Called = { readonly client: number; readonly calledAt: number };

  /** Undefined: it surely changed nothing, and leaves no trace. */
  const attempt = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof SkerryError && undone.includes(error.code))) throw error;
      outcomes.failed++;
      // As any client would, it does not come back at once.
      await clock.sleep(5);
      return undefined;
    }
  };
  const told = (answer: StrongAnswer) => {
    outcomes[answer.state]++;
    return answer.state === "unknown" ? undefined : now++;
  };

  const client = async (node: StrongActor, number: number) => {
    const random = seededRandom(options.seed * 1000 + number);
    /** As this client saw them last. */
    const seen = new Map<string, { value: string | undefined; version: string | null }>();
    const see = (id: string, document: StrongDocument | undefined) => {
      const value = valueOf(document);
      seen.set(id, { value, version: document?.version ?? null });
      return value;
    };
    const begin = (): Called => ({ client: number, calledAt: now++ });

    const read = async (id: string) => {
      const called = begin();
      const answer = await attempt(async () => ({
        document: await node.read(caller, { collection: strongCollection, id }),
      }));
      if (!answer) return;
      const { document } = answer;
      registers.push({
        ...called,
        key: id,
        answeredAt: now++,
        type: "read",
        value: see(id, document),
      });
    };
    const list = async () => {
      const called = begin();
      const page = await attempt(() =>
        node.list(caller, { collection: strongCollection, limit: 100 }),
      );
      if (!page) return;
      const answeredAt = now++;
      const standing = new Map(page.documents.map((document) => [document.id, document]));
      for (let index = 0; index < options.keys; index++) {
        const id = `k${index}`;
        registers.push({
          ...called,
          key: id,
          answeredAt,
          type: "read",
          value: see(id, standing.get(id)),
        });
      }
      const [left, right] = pair.map((id) => see(id, standing.get(id)));
      if (left !== right) torn.push(`client ${number}: ${left} and ${right}`);
      registers.push({ ...called, key: "pair", answeredAt, type: "read", value: left });
      log.push({ ...called, answeredAt, type: "read", values: stepsOf(standing.get(logId)) });
    };
    /** `ids` hold one value among them, and stand in the history as `key`. */
    const write = async (
      key: string,
      value: string | undefined,
      { ids, isConditional }: { ids: readonly string[]; isConditional: boolean },
    ) => {
      const known = seen.get(ids[0] ?? key);
      if (isConditional && !known) return;
      const writes = ids.map((id): DocumentWrite => {
        const version = seen.get(id)?.version;
        const place = {
          collection: strongCollection,
          id,
          ...(isConditional && version !== undefined ? { ifVersion: version } : {}),
        };
        return value === undefined
          ? { ...place, do: "delete" }
          : { ...place, do: "put", body: { owner: value } };
      });
      const called = begin();
      const answer = await attempt(() => node.write(caller, writes));
      if (!answer) return;
      const base = { ...called, key, value, answeredAt: told(answer) };
      if (!isConditional) {
        if (answer.state === "refused") throw new Error(`refused without a condition: ${key}`);
        registers.push({ ...base, type: "write" });
        return;
      }
      const cas = { ...base, type: "cas", expected: known?.value } as const;
      if (answer.state === "refused")
        registers.push({ ...cas, swapped: false, found: { value: valueOf(answer.current) } });
      else registers.push({ ...cas, swapped: answer.state === "done" ? true : undefined });
    };
    const append = async (value: string) => {
      const called = begin();
      const answer = await attempt(() =>
        node.write(caller, [
          {
            collection: strongCollection,
            id: logId,
            do: "change",
            changes: [{ change: "insert", path: "/steps", values: [value] }],
          },
        ]),
      );
      if (!answer) return;
      if (answer.state === "refused") throw new Error("refused without a condition: the log");
      log.push({ ...called, answeredAt: told(answer), type: "append", value });
    };

    for (let made = 0; !options.isOver(made); made++) {
      const id = `k${random.integer(options.keys)}`;
      const value = `${number}.${made}`;
      const deletions = options.deletions ?? 6;
      const dice = random.integer(100);
      if (dice < deletions)
        await write(id, undefined, { ids: [id], isConditional: random.integer(2) === 0 });
      else await ordinary(random, { id, value, read, list, write, append });
    }
  };

  await Promise.all(
    nodes.flatMap((node, at) =>
      Array.from({ length: options.clients }, (_, index) =>
        client(node, at * options.clients + index),
      ),
    ),
  );
  return { registers, log, torn, outcomes };
}

async function ordinary(
  random: Random,
  {
    id,
    value,
    ...does
  }: {
    id: string;
    value: string;
    read(id: string): Promise<void>;
    list(): Promise<void>;
    write(
      key: string,
      value: string,
      how: { ids: readonly string[]; isConditional: boolean },
    ): Promise<void>;
    append(value: string): Promise<void>;
  },
): Promise<void> {
  const single = { ids: [id] };
  switch (random.integer(8)) {
    case 0:
    case 1:
      return await does.read(id);
    case 2:
      return await does.list();
    case 3:
      return await does.write(id, value, { ...single, isConditional: false });
    case 4:
      return await does.write(id, value, { ...single, isConditional: true });
    case 5:
      return await does.write("pair", value, { ids: pair, isConditional: false });
    case 6:
      return await does.write("pair", value, { ids: pair, isConditional: true });
    default:
      return await does.append(value);
  }
}

const valueOf = (document: StrongDocument | undefined): string | undefined => {
  const owner = document?.body["owner"];
  return typeof owner === "string" ? owner : undefined;
};
const stepsOf = (document: StrongDocument | undefined): string[] => {
  const steps = document?.body["steps"];
  return Array.isArray(steps) ? steps.map(String) : [];
};

/**
 * What is wrong with the history of a document that is only appended to. Its greatest reading is the
 * order of its appends, so nothing is searched for: every reading is a beginning of it, and nothing
 * stands before what was answered when it was called.
 */
export function checkLog(history: readonly LogOperation[]): string[] {
  const readings = history.flatMap((one) => (one.type === "read" ? [one.values] : []));
  const order = readings.reduce<readonly string[]>(
    (longest, values) => (values.length > longest.length ? values : longest),
    [],
  );
  const problems: string[] = [];
  const placeOf = new Map<string, number>();
  for (const [place, value] of order.entries()) {
    if (placeOf.has(value)) problems.push(`${value} was appended twice`);
    placeOf.set(value, place);
  }
  for (const values of readings)
    if (values.some((value, place) => order[place] !== value))
      problems.push(`${values.join()} is no beginning of ${order.join()}`);
  const appends = new Map(
    history.flatMap((one) => (one.type === "append" ? [[one.value, one]] : [])),
  );
  for (const value of order)
    if (!appends.has(value)) problems.push(`${value} is there, and surely was not appended`);

  // How long the document is at least once an operation was answered, and at most when it was called.
  const points = history.flatMap((one): { one: LogOperation; atMost: number; after: number }[] => {
    if (one.type === "read") return [{ one, atMost: one.values.length, after: one.values.length }];
    const place = placeOf.get(one.value);
    // Behind the last reading, or never.
    if (place === undefined) return [{ one, atMost: Infinity, after: order.length + 1 }];
    return [{ one, atMost: place, after: place + 1 }];
  });
  const answered = points
    .filter(({ one }) => one.answeredAt !== undefined)
    .toSorted((a, b) => (a.one.answeredAt ?? 0) - (b.one.answeredAt ?? 0));
  let [next, length] = [0, 0];
  for (const { one, atMost } of points.toSorted((a, b) => a.one.calledAt - b.one.calledAt)) {
    for (; (answered[next]?.one.answeredAt ?? Infinity) < one.calledAt; next++)
      length = Math.max(length, answered[next]?.after ?? 0);
    if (atMost < length)
      problems.push(
        `${one.type} of client ${one.client} at ${one.calledAt} has ${atMost} before it, and ${length} were answered`,
      );
  }
  return problems;
}
