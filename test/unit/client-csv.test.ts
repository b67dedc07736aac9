import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { sendCsv, type CsvSource } from "../../src/client/index.ts";
import { parseTimeMs } from "../../src/client/csv/columns.ts";
import { parseCsv } from "../../src/client/csv/parse.ts";

const sourceOf = (text: string | Uint8Array, chunkBytes = 7): CsvSource => {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  return {
    id: "f1",
    name: "f1.csv",
    bytes: bytes.length,
    *chunks() {
      for (let at = 0; at < bytes.length; at += chunkBytes)
        yield bytes.subarray(at, at + chunkBytes);
    },
  };
};

async function rowsOf(text: string, chunkBytes?: number): Promise<(readonly string[])[]> {
  const rows: (readonly string[])[] = [];
  for await (const { fields } of parseCsv(sourceOf(text, chunkBytes).chunks())) rows.push(fields);
  return rows;
}

/** A store that keeps each key once. */
function createSink() {
  const bodyBySequence = new Map<number, Record<string, unknown>>();
  const atBySequence = new Map<number, number>();
  return {
    bodyBySequence,
    atBySequence,
    async send(lines: readonly string[]) {
      let stored = 0;
      for (const line of lines) {
        const { $key, $at, ...body } = JSON.parse(line);
        assert.equal($key.producer, "import/f1");
        if (!bodyBySequence.has($key.sequence)) stored++;
        bodyBySequence.set($key.sequence, body);
        atBySequence.set($key.sequence, $at);
      }
      return { reached: "local", stored, duplicates: lines.length - stored };
    },
  };
}

test("what a writer quotes comes back, however the bytes are cut (property)", async () => {
  const field = fc.string({
    unit: fc.constantFrom("a", '"', ",", ";", "\n", "\r", " ", "é", "😀"),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 2, max: 4 }).chain((width) =>
        fc.array(fc.array(field, { minLength: width, maxLength: width }), {
          minLength: 1,
          maxLength: 6,
        }),
      ),
      fc.integer({ min: 1, max: 20 }),
      fc.constantFrom("\n", "\r\n", "\r"),
      fc.boolean(),
      async (rows, chunkBytes, end, endsWithEnd) => {
        const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
        const header = rows[0]?.map((_, index) => `c${index}`) ?? [];
        const text = [header.join(","), ...rows.map((row) => row.map(quote).join(","))].join(end);
        assert.deepEqual(await rowsOf(text + (endsWithEnd ? end : ""), chunkBytes), [
          header,
          ...rows,
        ]);
      },
    ),
  );
});

test("separators, blank lines, a byte order mark, plain fields", async () => {
  assert.deepEqual(await rowsOf("\uFEFFa;b\n\n1,5;x\n;\n"), [
    ["a", "b"],
    ["1,5", "x"],
    ["", ""],
  ]);
  assert.deepEqual(await rowsOf('a\tb\n"x""y"\t2'), [
    ["a", "b"],
    ['x"y', "2"],
  ]);
  assert.deepEqual(await rowsOf("a"), [["a"]]);
});

test("columns get one type for the whole file; the time column gives the entries their time", async () => {
  const sink = createSink();
  const result = await sendCsv(
    sourceOf(
      "timestamp,value,ok,code,mixed,big,none\n2014-04-01 00:00:00,1.5,true,007,1,12345678901234567890,\n2014-04-01T00:05:00Z,-2,FALSE,8,x,1,\n",
    ),
    { send: sink.send },
  );
  assert.deepEqual(result, {
    rows: 2,
    stored: 2,
    duplicates: 0,
    short: 0,
    timeColumn: "timestamp",
  });
  assert.deepEqual(
    [...sink.bodyBySequence.values()],
    [
      {
        timestamp: "2014-04-01 00:00:00",
        value: 1.5,
        ok: true,
        code: "007",
        mixed: "1",
        big: "12345678901234567890",
      },
      { timestamp: "2014-04-01T00:05:00Z", value: -2, ok: false, code: "8", mixed: "x", big: "1" },
    ],
  );
  assert.deepEqual([...sink.atBySequence.values()], [1396310400000, 1396310700000]);
});

test("times are ISO 8601, or seconds or milliseconds since 1970", () => {
  for (const [text, ms] of [
    ["2026-01-02", Date.UTC(2026, 0, 2)],
    ["2026-01-02 03:04", Date.UTC(2026, 0, 2, 3, 4)],
    ["2026-01-02T03:04:05.678+01:00", Date.UTC(2026, 0, 2, 2, 4, 5, 678)],
    ["1700000000", 1_700_000_000_000],
    ["1700000000.25", 1_700_000_000_250],
    ["1700000000123", 1_700_000_000_123],
    ["12", undefined],
    ["yesterday", undefined],
    ["2026-13-02", undefined],
  ] as const)
    assert.equal(parseTimeMs(text), ms, text);
});

test("an import that was cut off and run again stores every row once", async () => {
  const text = `n\n${Array.from({ length: 2500 }, (_, i) => i).join("\n")}\n`;
  const sink = createSink();
  let batches = 0;
  const failing = async (lines: readonly string[]) => {
    if (++batches === 2) throw new Error("the link is gone");
    return sink.send(lines);
  };
  await assert.rejects(sendCsv(sourceOf(text, 1000), { send: failing }), /the link is gone/);
  const again = await sendCsv(sourceOf(text, 1000), { send: sink.send });
  assert.deepEqual(again, { rows: 2500, stored: 1500, duplicates: 1000, short: 0 });
  assert.equal(sink.bodyBySequence.size, 2500);
  assert.deepEqual(sink.bodyBySequence.get(2500), { n: 2499 });
});

test("a bad file is refused with its line, and nothing of it is sent", async () => {
  for (const [content, message] of [
    ["", /has no rows/],
    ["a,b\n", /has no rows after its header/],
    ["a,b\n1,2\n3\n", /^line 3: 1 fields, the header names 2/],
    ['a,b\n1,"2\n', /^line 2: a quote is not closed/],
    ['a,b\n1,2"3\n', /^line 2: a quote inside a field/],
    ['a,b\n1,"2"3\n', /^line 2: "3" after a closing quote/],
    ["a,a\n1,2\n", /^line 1: two columns are called "a"/],
    ["a,\n1,2\n", /^line 1: column 2 has no name/],
    ["$key\n1\n", /^line 1: column "\$key"/],
    [
      Buffer.from("a\nb\n\xff\xfe\n", "latin1"),
      /^after line \d: there are bytes that are not UTF-8/,
    ],
  ] as const) {
    let sent = 0;
    const send = async () => {
      sent++;
      return { reached: "local", stored: 0, duplicates: 0 };
    };
    await assert.rejects(sendCsv(sourceOf(content), { send }), { code: "invalid-csv", message });
    assert.equal(sent, 0);
  }
});

test("progress is told, and the signal stops the import", async () => {
  const text = `n\n${Array.from({ length: 3000 }, (_, i) => i).join("\n")}\n`;
  const sink = createSink();
  const seen: { phase: string; rows: number; bytes: number }[] = [];
  const controller = new AbortController();
  const importing = sendCsv(sourceOf(text, 500), {
    send: sink.send,
    signal: controller.signal,
    onProgress: (progress) => {
      seen.push(progress);
      if (progress.rows >= 2000) controller.abort(new Error("enough"));
    },
  });
  await assert.rejects(importing, /enough/);
  assert.deepEqual(
    seen.filter(({ phase }) => phase === "sending").map(({ rows }) => rows),
    [1000, 2000],
  );
  assert.ok(sink.bodyBySequence.size < 3000);
});
