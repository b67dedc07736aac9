import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { cutLines } from "../../src/keeper/containers/log-lines.ts";
import { lineReader } from "../../src/keeper/protocol.ts";
import { createCriReader } from "../../src/workloads/process/cri-lines.ts";
import { expand } from "../../src/workloads/pods/expansion.ts";
import { freshTally, isHopeless, pauseMs, tally } from "../../src/workloads/pods/probe-state.ts";

const time = "2026-01-01T00:00:00.000Z";

/** Random cuts of one byte string. */
const pieces = (bytes: Buffer, cuts: readonly number[]) => {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b);
  return [0, ...at].map((start, index) => bytes.subarray(start, at[index] ?? bytes.length));
};

test("K6: what a container writes comes back byte for byte, however it was cut on the way", () => {
  const output = fc
    .array(fc.oneof(fc.string(), fc.constant("\n"), fc.constant("x".repeat(20_000))), {
      maxLength: 30,
    })
    .map((parts) => Buffer.from(parts.join("")));
  fc.assert(
    fc.property(output, fc.array(fc.nat()), fc.array(fc.nat()), (written, reads, cuts) => {
      const log: Buffer[] = [];
      let from = 0;
      for (const until of [
        ...pieces(written, reads).map(
          (piece) => piece.byteOffset - written.byteOffset + piece.length,
        ),
        written.length,
      ]) {
        const atEnd = until === written.length;
        for (;;) {
          const { text, consumed } = cutLines(written.subarray(from, until), {
            stream: "stdout",
            time,
            atEnd,
            textBytesMax: 1000,
          });
          log.push(text);
          from += consumed;
          if (consumed === 0 || from >= until) break;
        }
      }
      assert.equal(from, written.length);
      const reader = createCriReader({});
      const all = Buffer.concat(log);
      const read = Buffer.concat(pieces(all, cuts).map((piece) => reader.push(piece)));
      assert.equal(reader.pendingBytes, 0);
      const expected = written.toString();
      assert.equal(
        read.toString(),
        expected === "" || expected.endsWith("\n") ? expected : `${expected}\n`,
      );
      for (const line of all.toString().split("\n").slice(0, -1)) {
        assert.match(line, /^2026-\S+ stdout [FP] /);
        assert.ok(Buffer.byteLength(line) <= 16 * 1024 + 60);
      }
    }),
    { numRuns: 200 },
  );
});

test("lines on the keeper's socket survive any cut; a line without end is refused once", () => {
  fc.assert(
    fc.property(fc.array(fc.string()), fc.array(fc.nat()), (texts, cuts) => {
      const lines = texts.map((text) => JSON.stringify(text));
      const got: string[] = [];
      const push = lineReader((line) => got.push(line), assert.fail);
      for (const piece of pieces(Buffer.from(lines.map((line) => `${line}\n`).join("")), cuts)) {
        push(Buffer.from(piece));
      }
      assert.deepEqual(got, lines);
    }),
  );
  let tooLong = 0;
  const push = lineReader(assert.fail, () => tooLong++);
  for (let i = 0; i < 8; i++) push(Buffer.alloc(1024 * 1024, 97));
  assert.equal(tooLong, 1);
});

test("$(NAME) is expanded as Kubernetes does it", () => {
  const variables = { A: "1", "b.c": "2", EMPTY: "" };
  const cases: Readonly<Record<string, string>> = {
    "$(A)": "1",
    "x$(b.c)$(EMPTY)y": "x2y",
    "$(NOPE) $A $ $(": "$(NOPE) $A $ $(",
    "$$(A)": "$(A)",
    "$$$(A)": "$1",
    "$(constructor)": "$(constructor)",
  };
  for (const [text, expected] of Object.entries(cases))
    assert.equal(expand(text, variables), expected);
});

test("W7: a probe concludes after its thresholds, against a naive count of the last looks", () => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean()),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 4 }),
      (looks, successThreshold, failureThreshold) => {
        const probe = { successThreshold, failureThreshold };
        let now = freshTally("readiness");
        let naive = false;
        for (const [index, ok] of looks.entries()) {
          now = tally(now, ok, probe);
          const last = (count: number, wanted: boolean) =>
            index + 1 >= count &&
            looks.slice(index + 1 - count, index + 1).every((look) => look === wanted);
          if (last(successThreshold, true)) naive = true;
          if (last(failureThreshold, false)) naive = false;
          assert.equal(now.holds, naive);
        }
        assert.ok(!isHopeless("readiness", now, probe), "readiness never kills");
      },
    ),
  );
});

test("W7: what was never ready is looked at soon again, ever less, and never more often than that afterwards", () => {
  const probe = { periodSeconds: 2 };
  const failed = (failures: number, everHeld: boolean) => ({
    ...freshTally("readiness"),
    failures,
    everHeld,
  });
  const pauses = Array.from({ length: 12 }, (_, index) =>
    pauseMs("readiness", failed(index + 1, false), probe),
  );
  assert.equal(pauses[0], 50);
  assert.deepEqual(
    pauses,
    pauses.toSorted((a, b) => a - b),
  );
  assert.equal(pauses.at(-1), 2000);
  assert.ok(
    pauses.filter((ms) => ms < 2000).length < 12,
    "a container that never comes is not hammered",
  );
  assert.equal(pauseMs("readiness", failed(1, true), probe), 2000);
  assert.equal(pauseMs("readiness", { ...freshTally("readiness"), everHeld: false }, {}), 10_000);
  // These count failures: looking more often would shorten what a person allowed.
  assert.equal(pauseMs("startup", failed(1, false), probe), 2000);
  assert.equal(pauseMs("liveness", failed(1, false), probe), 2000);
});
