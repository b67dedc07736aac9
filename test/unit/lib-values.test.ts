import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import {
  formatBytes,
  formatDuration,
  parseBytes,
  parseDurationMs,
} from "../../src/lib/duration.ts";
import {
  decodeError,
  encodeError,
  explain,
  isAbort,
  SkerryError,
  systemCode,
} from "../../src/lib/errors.ts";
import { ascending, percentile } from "../../src/lib/percentile.ts";
import { createQueue } from "../../src/lib/queue.ts";
import { nameSuffix, seededRandom, uuid } from "../../src/lib/random.ts";
import { createSignals } from "../../src/lib/signals.ts";

test("queue: behaves as a bounded array, whatever is pushed and taken", async () => {
  const action = fc.oneof(fc.constant("take" as const), fc.nat());
  await fc.assert(
    fc.asyncProperty(
      fc.array(action, { maxLength: 200 }),
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom("reject" as const, "drop-oldest" as const),
      async (actions, itemsMax, onFull) => {
        const queue = createQueue<number>({ itemsMax, onFull });
        const iterator = queue[Symbol.asyncIterator]();
        const oracle: number[] = [];
        let dropped = 0;
        for (const next of actions) {
          if (next === "take") {
            const expected = oracle.shift();
            if (expected !== undefined) assert.equal((await iterator.next()).value, expected);
            continue;
          }
          const isFull = oracle.length === itemsMax;
          assert.equal(queue.push(next), !isFull || onFull === "drop-oldest");
          if (isFull && onFull === "drop-oldest") {
            oracle.shift();
            dropped++;
          }
          if (!isFull || onFull === "drop-oldest") oracle.push(next);
        }
        assert.deepEqual([queue.size, queue.dropped], [oracle.length, dropped]);
        queue.close();
        assert.equal(queue.push(1), false);
        const rest: number[] = [];
        for await (const item of queue) rest.push(item);
        assert.deepEqual(rest, oracle);
      },
    ),
  );
});

test("queue: a waiting consumer gets the item, then the error it was closed with", async () => {
  const queue = createQueue<number>({ itemsMax: 2, onFull: "reject" });
  const iterator = queue[Symbol.asyncIterator]();
  const first = iterator.next();
  queue.push(1);
  assert.deepEqual(await first, { value: 1, done: false });
  const second = iterator.next();
  queue.close(new Error("gone"));
  await assert.rejects(second, /gone/);
});

test("queue: a consumer that leaves closes it; many items keep their order", async () => {
  const queue = createQueue<number>({ itemsMax: 10_000, onFull: "reject" });
  for (let i = 0; i < 5000; i++) queue.push(i);
  let next = 0;
  for await (const item of queue) {
    assert.equal(item, next++);
    if (next === 4000) break;
  }
  assert.equal(queue.push(1), false);
  assert.equal(queue.size, 0);
  assert.throws(() => createQueue({ itemsMax: 0, onFull: "reject" }), RangeError);
});

test("signals: a listener that throws, comes or goes meanwhile breaks nobody", () => {
  const errors: unknown[] = [];
  const signals = createSignals<{ tick: number }>({
    onListenerError: (error) => errors.push(error),
  });
  const seen: string[] = [];
  signals.on("tick", () => {
    throw new Error("bad listener");
  });
  const off = signals.on("tick", (n) => {
    seen.push(`a${n}`);
    signals.on("tick", (m) => seen.push(`late${m}`));
    off();
  });
  signals.on("tick", (n) => seen.push(`b${n}`));
  signals.emit("tick", 1);
  assert.deepEqual([seen, errors.length], [["a1", "b1"], 1]);
  signals.emit("tick", 2);
  assert.deepEqual(seen, ["a1", "b1", "b2", "late2"]);
});

test("durations and sizes: as people write them, or an error that names the field", () => {
  assert.equal(parseDurationMs("1h30m", "f"), 5_400_000);
  assert.equal(parseDurationMs("250ms", "f"), 250);
  assert.equal(parseDurationMs("1.5s", "f"), 1500);
  assert.equal(parseDurationMs("7d", "f"), 604_800_000);
  for (const wrong of ["", "5", "s", "1h 30m", "-1s", "1x", "1s!"]) {
    assert.throws(
      () => parseDurationMs(wrong, "retention.age"),
      (error: SkerryError) =>
        error.code === "invalid-duration" && error.message.includes("retention.age"),
      wrong,
    );
  }
  assert.equal(parseBytes("64Mi", "f"), 64 * 1024 * 1024);
  assert.equal(parseBytes("2G", "f"), 2e9);
  assert.equal(parseBytes("1500", "f"), 1500);
  assert.equal(parseBytes("1.5KiB", "f"), 1536);
  for (const wrong of ["", "Mi", "-1", "1 Mi", "1mi", "0x10"])
    assert.throws(() => parseBytes(wrong, "size"), { code: "invalid-size" }, wrong);
});

test("durations and sizes: shown the way kubectl shows ages", () => {
  const shown = [0, 119_000, 120_000, 150_000, 600_000, 10_800_000, 12_600_000, 90_000_000, 2e9];
  assert.deepEqual(shown.map(formatDuration), [
    "0s",
    "119s",
    "2m",
    "2m30s",
    "10m",
    "3h",
    "3h30m",
    "25h",
    "23d",
  ]);
  assert.deepEqual([0, 1023, 1536, 20_480, 5e12].map(formatBytes), [
    "0 B",
    "1023 B",
    "1.5 KiB",
    "20 KiB",
    "4.5 TiB",
  ]);
  fc.assert(
    fc.property(
      fc.nat(1e9),
      (n) => parseDurationMs(`${n}ms`, "f") === n && parseBytes(`${n}`, "f") === n,
    ),
  );
});

test("errors: code, hint, details and causes cross structured clone and JSON", () => {
  const root = new Error("EIO") as NodeJS.ErrnoException;
  root.code = "EIO";
  const error = new SkerryError({
    code: "storage-failed",
    message: "the disk failed",
    hint: "check the disk",
    retryable: true,
    details: { path: "/x", bytes: 5 },
    cause: root,
  });
  for (const wire of [
    structuredClone(encodeError(error)),
    JSON.parse(JSON.stringify(encodeError(error))),
  ]) {
    const back = decodeError(wire);
    assert.ok(back instanceof SkerryError);
    assert.deepEqual(encodeError(back), encodeError(error));
    assert.equal(systemCode(back.cause), "EIO");
  }
  assert.equal(explain(error), "the disk failed: EIO (check the disk)");
});

test("errors: a quota has its name, which Node does not give it", () => {
  assert.equal(systemCode(Object.assign(new Error(), { code: "UNKNOWN", errno: -122 })), "EDQUOT");
  assert.equal(systemCode(Object.assign(new Error(), { code: "ENOSPC", errno: -28 })), "ENOSPC");
});

test("errors: anything thrown is encoded, chains without end are cut, aborts stay aborts", () => {
  assert.deepEqual(encodeError("text"), { code: "internal", retryable: false, message: "text" });
  assert.equal(encodeError(undefined).message, "undefined");
  const loop = new Error("loop");
  loop.cause = loop;
  assert.ok(JSON.stringify(encodeError(loop)).length < 1000);
  assert.ok(explain(loop).length < 100);
  const abort = AbortSignal.abort().reason;
  assert.ok(isAbort(abort));
  assert.ok(isAbort(decodeError(structuredClone(encodeError(abort)))));
  assert.equal(isAbort(new Error("x")), false);
});

test("random: a seed gives one sequence, in range and evenly", () => {
  const [a, b] = [seededRandom(42), seededRandom(42)];
  for (let i = 0; i < 100; i++) assert.equal(a.float(), b.float());
  assert.notEqual(seededRandom(1).float(), seededRandom(2).float());
  const counts = Array.from({ length: 7 }, () => 0);
  for (let i = 0; i < 7000; i++) {
    const n = a.integer(7);
    counts[n] = (counts[n] ?? 0) + 1;
  }
  assert.equal(counts.length, 7);
  for (const count of counts) assert.ok(count > 850 && count < 1150, String(counts));
  assert.equal(a.bytes(5).byteLength, 5);
  assert.match(uuid(a), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.match(nameSuffix(a), /^[bcdfghjklmnpqrstvwxz2456789]{5}$/);
});

test("percentile: the nearest rank of a naive count", () => {
  assert.equal(percentile([], 0.5), undefined);
  fc.assert(
    fc.property(
      fc.array(fc.integer(), { minLength: 1, maxLength: 50 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, share) => {
        const sorted = ascending(values);
        const at = percentile(sorted, share) ?? Number.NaN;
        assert.ok(sorted.includes(at));
        assert.ok(sorted.filter((v) => v <= at).length >= share * sorted.length - 1e-9);
      },
    ),
  );
});
