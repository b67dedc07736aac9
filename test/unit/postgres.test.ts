/** The pure parts of the hub on PostgreSQL: its URL, runs of sequences, where partitions go, rows on the wire. */
import { strict as assert } from "node:assert";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { encodeRows } from "../../src/data/global/postgres/rows.ts";
import { partMs, placeFor } from "../../src/data/global/postgres/parts.ts";
import {
  addSequence,
  blockSize,
  type SeenBlock,
} from "../../src/data/global/postgres/seen-block.ts";
import {
  hasPassword,
  parsePostgresUrl,
  withoutPassword,
} from "../../src/runtime/postgres/index.ts";

describe("the URL of PostgreSQL", () => {
  test("hosts, user, database and TLS as libpq takes them", () => {
    assert.deepEqual(
      parsePostgresUrl(
        "postgresql://hub:p%40ss%2Fword@[::1]:5433,db2.example/fleet?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=3",
      ),
      {
        hosts: [
          { host: "::1", port: 5433 },
          { host: "db2.example", port: 5432 },
        ],
        user: "hub",
        password: "p@ss/word",
        database: "fleet",
        tls: "verify-full",
        rootCertificatePath: "/ca.pem",
        connectTimeoutMs: 3000,
      },
    );
    const socket = parsePostgresUrl("postgres://hub@/fleet?host=/run/postgresql&port=5434");
    assert.deepEqual(socket.hosts, [{ host: "/run/postgresql", port: 5434 }]);
    assert.equal(socket.tls, "prefer");
    assert.equal(parsePostgresUrl("postgres://hub@db").database, "hub");
  });

  test("what is wrong is named, and the password is in no message", () => {
    for (const [url, words] of [
      ["mysql://hub:geheim@db/fleet", /expected postgres:/],
      ["postgres://hub:ge@heim@db/fleet", /@ as %40/],
      ["postgres://hub:geheim@db/fleet?sslmode=maybe", /sslmode: "maybe"/],
      ["postgres://hub:geheim@db/fleet?options=-cfsync%3Doff", /options is not known/],
      ["postgres://hub:geheim@db:99999/fleet", /"db:99999" is no HOST:PORT/],
      ["postgres://hub:geheim%@db/fleet", /%40/],
      ["postgres://hub:geheim@db/fleet?target_session_attrs=standby", /target_session_attrs/],
    ] as const)
      assert.throws(
        () => parsePostgresUrl(url),
        (error: Error & { code?: string }) =>
          error.code === "invalid-postgres-url" &&
          words.test(error.message) &&
          !error.message.includes("heim"),
      );
  });

  test("what is kept and shown has no password in it", () => {
    for (const [given, shown] of [
      ["postgres://hub:geheim@db/fleet?sslmode=require", "postgres://hub@db/fleet?sslmode=require"],
      [
        "postgres://db/fleet?user=hub&password=geheim&sslmode=require",
        "postgres://db/fleet?user=hub&sslmode=require",
      ],
      ["postgres://db/fleet?password=geheim", "postgres://db/fleet"],
      ["postgres://hub@db/fleet", "postgres://hub@db/fleet"],
    ] as const) {
      assert.equal(withoutPassword(given), shown);
      assert.equal(hasPassword(given), given !== shown);
    }
  });
});

test("D4: runs of sequences say of each whether it was there, as a set does", () => {
  const sequence = fc.oneof(
    fc.integer({ min: 0, max: 40 }),
    fc.integer({ min: 0, max: blockSize - 1 }),
  );
  fc.assert(
    fc.property(fc.nat(1000), fc.array(sequence, { maxLength: 200 }), (block, offsets) => {
      const seen: SeenBlock = { block, ranges: [], changed: false };
      const oracle = new Set<number>();
      for (const offset of offsets) {
        assert.equal(addSequence(seen, block * blockSize + offset), !oracle.has(offset));
        oracle.add(offset);
      }
      const inRuns: number[] = [];
      for (let i = 0; i < seen.ranges.length; i += 2)
        for (let n = seen.ranges[i] as number; n <= (seen.ranges[i + 1] as number); n++)
          inRuns.push(n);
      assert.deepEqual(
        inRuns,
        [...oracle].sort((a, b) => a - b),
      );
      // Neighbours are one run.
      for (let i = 2; i < seen.ranges.length; i += 2)
        assert.ok((seen.ranges[i] as number) > (seen.ranges[i - 1] as number) + 1);
      assert.equal(seen.changed, offsets.length > 0);
    }),
  );
});

test("partitions never meet, whatever the order of times and widths", () => {
  const dayMs = 86_400_000;
  const time = fc.integer({ min: 0, max: 400 * dayMs });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(time, fc.integer({ min: 1, max: 30 })), { maxLength: 30 }),
      (asked) => {
        const parts: { fromMs: number; toMs: number; name: string }[] = [];
        for (const [ms, days] of asked) {
          const part = placeFor(ms, parts, days * dayMs);
          if (part) parts.push(part);
          assert.equal(parts.filter(({ fromMs, toMs }) => fromMs <= ms && ms < toMs).length, 1);
        }
        assert.equal(new Set(parts.map(({ name }) => name)).size, parts.length);
        for (const { fromMs, toMs } of parts) assert.ok(fromMs < toMs && fromMs % dayMs === 0);
      },
    ),
  );
  assert.equal(partMs(undefined), 30 * dayMs);
  assert.equal(partMs(dayMs), dayMs);
  assert.equal(partMs(80 * dayMs), 10 * dayMs);
});

test("numbers of 53 bits, times before 2000 and bodies stand in COPY's binary rows as they are", () => {
  const body = Buffer.from('{"grüße":"\\n"}');
  const bytes = Buffer.concat(
    encodeRows(9_007_199_254_740_991, [
      {
        position: 4_294_967_296,
        epoch: 0,
        sequence: undefined,
        producer: "ü",
        atMs: 1,
        cell: 1,
        stream: 2,
        origin: 3,
        body,
      },
    ]),
  );
  let at = 19;
  assert.equal(bytes.readInt16BE(at), 11);
  at += 2;
  const columns: (Buffer | undefined)[] = [];
  for (let i = 0; i < 11; i++) {
    const length = bytes.readInt32BE(at);
    at += 4;
    columns.push(length === -1 ? undefined : bytes.subarray(at, at + length));
    at += Math.max(0, length);
  }
  assert.deepEqual(
    columns.slice(0, 5).map((column) => column?.readBigInt64BE()),
    [9_007_199_254_740_991n, 4_294_967_296n, 0n, undefined, -946_684_799_999_000n],
  );
  assert.deepEqual(
    columns.slice(5, 9).map((column) => column?.readInt32BE()),
    [1, 2, 3, 0],
  );
  assert.equal(columns[9]?.toString(), "ü");
  assert.deepEqual(columns[10], body);
  assert.equal(bytes.readInt16BE(at), -1);
  assert.equal(bytes.length, at + 2);
});
