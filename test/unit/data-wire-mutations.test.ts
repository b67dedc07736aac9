/**
 * Whatever bytes come over a link or from a disk: what reads them gives a value that it would write again
 * just so, or its documented error; no other exception, and no more memory than the bound of the format.
 */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { StoredEntry } from "../../src/api/index.ts";
import { connectAudit, serveAudit } from "../../src/data/audit/link.ts";
import type { AuditSide } from "../../src/data/audit/sides.ts";
import { decodeColumns, encodeBatch } from "../../src/data/batch/codec.ts";
import { frameContent } from "../../src/data/batch/frame.ts";
import { decodePlan, encodePlan } from "../../src/data/batch/segment-plan.ts";
import { columnsOfRows, decodeSegment, encodeSegment } from "../../src/data/batch/segment.ts";
import { decodeOperations, encodeOperations, packText } from "../../src/data/documents/codec.ts";
import {
  decodeLeaving,
  decodeLeavingSnapshot,
  encodeLeaving,
  encodeLeavingSnapshot,
} from "../../src/data/documents/leaving.ts";
import { decodeSnapshot, encodeSnapshot } from "../../src/data/documents/snapshot.ts";
import * as messages from "../../src/data/replication/messages.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { seededRandom, type Random } from "../../src/lib/random.ts";
import type { Link, Peer } from "../../src/transport/index.ts";
import {
  createMemoryTables,
  openMemoryStore,
  type MemoryStore,
} from "../../src/drill/simulated/convergence/documents-memory.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { virtualRouter } from "../../src/drill/simulated/convergence/links.ts";
import { temporaryFolder } from "../support/data.ts";
import { items, openDocuments, put, write } from "../support/documents.ts";
import { mutateBytes, mutateJson, type JsonValue } from "../support/mutations.ts";

const rounds = 1500;
const megabyte = 1024 * 1024;
/** Above the 32 MiB that a frame may unpack to, as bytes and as text. */
const memoryMax = 200 * megabyte;

type Format = {
  readonly samples: readonly Uint8Array[];
  /** What is within the packing, changed in some place. */
  readonly within: (bytes: Uint8Array, random: Random) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => unknown;
  readonly encode: (value: never) => Uint8Array;
  /** Absent: any error, as the format says. */
  readonly code?: string;
  /** What a store does with what was taken: by then it is too late to refuse it. */
  readonly use?: (bytes: Uint8Array) => Promise<unknown>;
};

const used = () => {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

async function play(format: Format, seed: number): Promise<number> {
  const { samples, within, decode, encode, code, use } = format;
  const random = seededRandom(seed);
  let taken = 0;
  for (const sample of samples) {
    same(sample);
    await use?.(sample);
  }
  for (let round = 0; round < rounds; round++) {
    const sample = samples[random.integer(samples.length)] ?? new Uint8Array();
    const bytes = random.integer(4) === 0 ? mutateBytes(sample, random) : within(sample, random);
    const before = used();
    let isTaken = false;
    try {
      same(bytes);
      isTaken = true;
      taken++;
    } catch (error) {
      const known = code === undefined ? error instanceof Error : isCode(error, code);
      assert.ok(known && !(error instanceof assert.AssertionError), told(error, round));
    }
    if (isTaken) await use?.(bytes).catch((error) => assert.fail(told(error, round)));
    assert.ok(used() - before < memoryMax, `round ${round} took ${used() - before} bytes`);
  }
  return taken;

  /** What was taken is written again as it was read. */
  function same(bytes: Uint8Array): void {
    const value = decode(bytes);
    let again: unknown;
    try {
      again = decode(encode(value as never));
    } catch (error) {
      assert.fail(`taken, and not when it was written again: ${String(error)}`);
    }
    assert.deepEqual(again, value);
  }
}

const isCode = (error: unknown, code: string) =>
  error instanceof SkerryError && error.code === code;
const told = (error: unknown, round: number) =>
  `round ${round}: ${error instanceof Error ? error.stack : String(error)}`;

/** Lines of JSON in a frame behind four letters. */
function withinLines(bytes: Uint8Array, random: Random): Uint8Array {
  const kind = Buffer.from(bytes.subarray(0, 4)).toString();
  const lines = zstdDecompressSync(bytes.subarray(4)).toString().split("\n");
  const at = random.integer(lines.length);
  const line = lines[at] ?? "";
  const dice = random.integer(8);
  if (dice === 0) lines.splice(at, 1);
  else if (dice === 1) lines.splice(at, 0, line);
  else if (dice === 2) lines[at] = Buffer.from(mutateBytes(Buffer.from(line), random)).toString();
  else lines[at] = JSON.stringify(mutateJson(JSON.parse(line) as JsonValue, random));
  return packText(kind, lines);
}

/** A header of JSON and bodies in a frame, behind so many letters. */
const withinFrame =
  (lead: number) =>
  (bytes: Uint8Array, random: Random): Uint8Array => {
    const content = zstdDecompressSync(bytes.subarray(lead));
    const end = 4 + content.readUInt32BE(0);
    const header = JSON.parse(content.toString("utf8", 4, end)) as JsonValue;
    const bodies = content.subarray(end);
    const changed =
      random.integer(6) === 0
        ? mutateBytes(content, random)
        : frameContent(
            mutateJson(header, random) as object,
            random.integer(6) === 0 ? [mutateBytes(bodies, random)] : [bodies],
          );
    return Buffer.concat([bytes.subarray(0, lead), zstdCompressSync(changed)]);
  };

const withinJson = (bytes: Uint8Array, random: Random): Uint8Array =>
  Buffer.from(JSON.stringify(mutateJson(JSON.parse(String(Buffer.from(bytes))), random)));

/** Of a store with fields of every kind, one of them deleted. */
let operations: Uint8Array;
let snapshot: Uint8Array;
let folder: ReturnType<typeof temporaryFolder>;

before(async () => {
  folder = temporaryFolder();
  const store = await openDocuments(join(folder.path, "n1.db"));
  const body = {
    name: "a",
    stock: 3,
    tags: ["x"],
    steps: ["s", "t"],
    notes: "long",
    size: { mm: 1 },
  };
  await write(store, put("a", body), put("b", { name: "b" }));
  const at = { collection: "items", id: "a", do: "change" } as const;
  await write(store, { ...at, changes: [{ change: "increment", path: "/stock", by: 2 }] });
  await write(store, { ...at, changes: [{ change: "add", path: "/tags", value: "y" }] });
  await write(store, { ...at, changes: [{ change: "delete", path: "/steps", index: 0 }] });
  await write(store, {
    ...at,
    changes: [{ change: "edit", path: "/notes", delta: [{ retain: 2 }, { insert: "er" }] }],
  });
  await write(store, { ...at, changes: [{ change: "remove", path: "/size" }] });
  await write(store, { collection: "items", id: "b", do: "delete" });
  const [[origin = ""] = []] = Object.entries(await store.vector());
  const log = await store.log({ origin, from: 1 });
  const piece = await store.snapshots.give({ vector: {}, force: true });
  await store.close();
  assert.ok(log && piece);
  [operations, snapshot] = [log.bytes, piece];
});
after(() => folder[Symbol.dispose]());

const freshStore = () =>
  openMemoryStore(
    {
      ...{ tables: createMemoryTables(), clock: createSimulatedClock() },
      ...{ random: seededRandom(1), onPowerCut: () => undefined },
    },
    { node: "n2", collections: [items] },
  );

const readBack = ({ engine }: MemoryStore) => {
  for (const id of ["a", "b"]) engine.documents.shown("items", id);
};

const egress = { policy: { keep: ["name"], drop: [] }, revision: 3 };
const formats: Readonly<Record<string, () => Format>> = {
  operations: () => ({
    ...{ samples: [operations], within: withinLines, code: "invalid-batch" },
    ...{ decode: decodeOperations, encode: encodeOperations },
    use: async (bytes) => {
      const store = freshStore();
      await store.apply(bytes);
      readBack(store);
    },
  }),
  "documents as they are": () => ({
    ...{ samples: [snapshot], within: withinLines, code: "invalid-batch" },
    decode: (bytes) => {
      const { header: _, ...piece } = decodeSnapshot(bytes);
      return piece;
    },
    encode: (piece) => encodeSnapshot(piece),
    use: async (bytes) => {
      const store = freshStore();
      await store.snapshots.take(bytes);
      readBack(store);
    },
  }),
  "operations that leave": () => {
    const { origin, from, operations: made } = decodeOperations(operations);
    const to = from + made.length - 1;
    const log = { origin, from, to, operations: made, vector: { [origin]: to } };
    return {
      ...{ within: withinLines, code: "invalid-batch" },
      samples: [encodeLeaving({ ...log, collections: { items: egress } })],
      decode: (bytes) => {
        const { shapes: _, ...batch } = decodeLeaving(bytes);
        return batch;
      },
      encode: encodeLeaving,
    };
  },
  "documents that leave": () => {
    const { header: _, ...piece } = decodeSnapshot(snapshot);
    return {
      ...{ within: withinLines, code: "invalid-batch" },
      samples: [encodeLeavingSnapshot({ ...piece, collection: "items", egress })],
      decode: (bytes) => {
        const { shape: _, ...leaving } = decodeLeavingSnapshot(bytes);
        return leaving;
      },
      encode: encodeLeavingSnapshot,
    };
  },
  entries: () => ({
    ...{ within: withinFrame(4), code: "invalid-batch" },
    samples: [
      encodeBatch({ origin: "n1.x", from: 3, to: 12, entries }),
      encodeBatch({
        ...{ origin: "n1.x", from: 3, to: 12, entries },
        policies: { a: { keep: ["n"], drop: [] } },
      }),
    ],
    decode: decodeColumns,
    encode: encodeBatch,
  }),
  segments: () => ({
    ...{ within: withinFrame(0), samples: [encodeSegment(columnsOfRows(rows)).bytes] },
    decode: (bytes) => {
      const { row: _, ...columns } = decodeSegment(bytes);
      return columns;
    },
    encode: (columns) => encodeSegment(columns).bytes,
  }),
  "plans of segments": () => {
    const { ids, origins, sequences } = columnsOfRows(rows);
    return {
      ...{ within: withinFrame(0), decode: decodePlan, encode: encodePlan },
      samples: [encodePlan({ places: { ids, origins, sequences }, sum: 77 })],
    };
  },
};

const entries = [3, 4, 7, 9].map((sequence): StoredEntry => ({
  ...{ stream: sequence % 2 === 0 ? "a" : "b", atMs: 1000 + sequence },
  ...(sequence === 7 ? {} : { key: { producer: `p${sequence % 2}`, epoch: 1, sequence } }),
  position: { origin: "n1.x", sequence },
  body: Buffer.from(JSON.stringify({ n: sequence })),
}));
const rows = entries.map(({ atMs, body, position, key }, index) => ({
  ...{ id: 10 + index, origin: 1, sequence: position.sequence, atMs, body },
  key: key && { producer: 4 + (index % 2), epoch: 1, sequence: key.sequence },
}));

for (const [name, format] of Object.entries(formats)) {
  test(`D9: changed bytes of ${name} are refused by their error, or are another whole value`, async (t) => {
    const taken = await play(format(), 1);
    t.diagnostic(`${taken} of ${rounds} were taken`);
    // Some say the same in other words, most are wrong.
    assert.ok(taken > 0 && taken < rounds / 2, String(taken));
  });
}

test("D9: what unpacks to more than its bound is refused before it is unpacked", () => {
  const bomb = zstdCompressSync(Buffer.alloc(33 * megabyte, " "));
  for (const [name, make] of Object.entries(formats)) {
    const { decode, samples, within, code } = make();
    const lead = within === withinLines || name === "entries" ? 4 : 0;
    const before = used();
    assert.throws(
      () => decode(Buffer.concat([samples[0]?.subarray(0, lead) ?? Buffer.alloc(0), bomb])),
      ({ code: own, cause = { code: own } }: { code?: string; cause?: { code?: string } }) =>
        own === code ? cause.code === "ERR_BUFFER_TOO_LARGE" : own === "ERR_BUFFER_TOO_LARGE",
      name,
    );
    assert.ok(used() - before < 100 * megabyte, name);
  }
});

const place = { view: "v", cursor: { changes: { "n1.x": 3 }, keys: 2 } };
const codec = { ...messages };
const wordsByDecoder: Partial<Record<keyof typeof messages, readonly JsonValue[]>> = {
  decodeVector: [{ "n1.x": 3, "n2.y": 0 }],
  decodePull: [{ origin: "n1.x", from: 1, bytesMax: 1000 }],
  decodeCopyQuery: [{ origin: "n1.x", from: 1, to: 2, stream: "a", fromMs: 0, toMs: 9 }],
  decodeSnapshotWish: [{ vector: { a: 1 }, force: true, after: place }],
  decodePushed: [{ state: "applied", origin: "n1.x", top: 3, stored: 1, vector: { a: 1 } }],
  decodeWishes: [{ items: { shape: "{}", kinds: 3, revision: 1 } }],
  decodeIndexes: [{ items: ["/a", "/b"] }],
  decodeWanted: [{ collections: ["items"], vector: { a: 1 } }],
  decodeFeedStates: [{ items: { state: "open", tops: { a: 1 } }, old: { state: "superseded" } }],
  decodeFillAnswer: [
    { state: "staged", at: place },
    { state: "open", tops: { a: 1 } },
    { state: "busy" },
  ],
};

test("every decoder of messages has words here", () => {
  const decoders = Object.keys(messages).filter((name) => name.startsWith("decode"));
  assert.deepEqual(decoders.sort(), Object.keys(wordsByDecoder).sort());
});

for (const [name, words] of Object.entries(wordsByDecoder)) {
  test(`D9: changed words for ${name} are invalid-message, or other words`, async () => {
    const taken = await play(
      {
        ...{ within: withinJson, code: "invalid-message", encode: messages.encodeJson },
        samples: words.map(messages.encodeJson),
        decode: codec[name as keyof typeof codec],
      },
      2,
    );
    assert.ok(taken > 0 && taken < rounds, String(taken));
  });
}

const held = { first: 1, top: 9 };
const range = { from: "a", to: "b" };
const part = { ...range, keys: 3, print: "00ff" };
const scan = { scan: "s1" };
/** What is asked and what is answered, of each kind. */
const questions: Readonly<Record<keyof AuditSide, readonly [JsonValue, ...JsonValue[]]>> = {
  names: [{}, { collection: ["items"], stream: ["a"] }],
  open: [{ kind: "stream", name: "a" }, scan],
  look: [
    scan,
    { state: "scanning", seen: 3, of: 9 },
    { state: "absent", reason: "none" },
    { state: "scanned", items: 9, vector: { a: 1 }, logs: [{ origin: "a", ...held }] },
  ],
  prints: [{ ...scan, ranges: [range] }, [part]],
  split: [{ ...scan, ranges: [range], parts: 4 }, [[part, part]]],
  keys: [{ ...scan, range }, ["a", "b"]],
  documentPrints: [
    { ...scan, range, after: "a" },
    { prints: [["a", "00"]], more: true },
  ],
  documents: [
    { ...scan, ids: ["a"] },
    {
      applied: { a: 1 },
      documents: [{ id: "a", state: { e: [[1, 0, 1]] }, origins: ["n1.x"] }],
    },
  ],
  entries: [
    { ...scan, origin: "n1.x", from: 1, to: 9 },
    { ...held, entries: [{ position: 1, print: "00", key: ["p", 1, 1] }], damaged: "some" },
  ],
  removed: [{ ...scan, keys: [["p", 1, 1]] }, [true]],
  forget: [scan, null],
};

for (const [method, [question, ...answers]] of Object.entries(questions)) {
  test(`D9: changed questions and answers of an audit are invalid-message, or others: ${method}`, async () => {
    const random = seededRandom(3);
    const changed = (value: JsonValue) =>
      random.integer(4) === 0
        ? mutateBytes(messages.encodeJson(value), random)
        : withinJson(messages.encodeJson(value), random);
    let answer: Uint8Array;
    const link = { request: async () => answer } as Partial<Link> as Link;
    const side = connectAudit(link, "audit");
    const ask = side[method as keyof AuditSide] as (question: unknown) => Promise<unknown>;
    for (const right of answers) {
      answer = messages.encodeJson(right);
      assert.deepEqual(await ask(question), right);
    }
    const router = virtualRouter();
    const asked: unknown[] = [];
    const note = async (request: unknown) => {
      asked.push(request);
      return scan;
    };
    const methods = Object.keys(questions);
    const other = Object.fromEntries(methods.map((name) => [name, note])) as unknown as AuditSide;
    serveAudit(router, { prefix: "audit", side: other, scopeOf: () => ({}) });
    const send = (body: Uint8Array, name = method) =>
      router.handlers.get(`audit.${name}`)?.({
        ...{ body, link, peer: { id: "spiffe://a/n" } as Peer },
        signal: new AbortController().signal,
      });
    for (let round = 0; round < 400; round++) {
      answer = changed(answers[random.integer(answers.length)] ?? null);
      await ask(question).then(
        async (taken) => {
          answer = messages.encodeJson(taken);
          assert.deepEqual(await ask(question), taken);
        },
        (error) => assert.ok(isCode(error, "invalid-message"), told(error, round)),
      );
      await send(messages.encodeJson({ kind: "stream", name: "a" }), "open");
      asked.length = 0;
      await Promise.resolve(send(changed(question))).then(
        async () => {
          const [taken] = asked;
          await send(messages.encodeJson({ kind: "stream", name: "a" }), "open");
          await send(messages.encodeJson(taken));
          assert.deepEqual(asked.at(-1), taken);
        },
        (error) =>
          assert.ok(
            isCode(error, "invalid-message") || isCode(error, "audit-forgotten"),
            told(error, round),
          ),
      );
    }
  });
}
