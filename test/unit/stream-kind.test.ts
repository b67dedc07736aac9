/** The kind Stream: what it refuses, by field, value and what is allowed; and its columns. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { checkObject, streamKind } from "../../src/api/index.ts";

const object = (spec: object) => ({
  apiVersion: "skerry.dev/v1alpha1" as const,
  kind: "Stream" as const,
  metadata: { name: "telemetry" },
  spec,
});
function stream(spec: object): string[] {
  const checked = checkObject(streamKind, object(spec));
  return checked.ok ? [] : checked.issues.map(({ field, message }) => `${field}: ${message}`);
}

test("a stream's durations, sizes, levels and topics are checked", () => {
  assert.deepEqual(
    stream({
      durability: "peer(1)",
      retention: { maxAge: "7d", maxBytes: "1Gi" },
      egress: { keep: ["host", "cpu"] },
      priority: 3,
      mqtt: { topics: ["site/+/telemetry", "alarms/#"] },
    }),
    [],
  );
  assert.match(stream({ durability: "peer(0)" })[0] ?? "", /spec\.durability: "peer\(0\)" must be/);
  assert.match(
    stream({ retention: { maxAge: "soon" } })[0] ?? "",
    /maxAge: "soon" is not a duration/,
  );
  assert.match(stream({ mqtt: { topics: ["a/#/b"] } })[0] ?? "", /topics\[0\]/);
});

test("a stream's budget towards the hub is checked: one that nothing ever fits in is a mistake", () => {
  assert.deepEqual(stream({ hubBudget: { bytesPerSecond: "4Ki", bytesPerDay: "50Mi" } }), []);
  assert.match(stream({ hubBudget: { bytesPerDay: "10" } })[0] ?? "", /bytesPerDay: .*64Ki/);
  assert.match(stream({ hubBudget: { bytesPerSecond: "much" } })[0] ?? "", /bytesPerSecond: /);
});

test("the column of what may leave says so, also where everything does", () => {
  const column = streamKind.columns.find(({ name }) => name === "Egress");
  const told = (egress?: object) => column?.cell(object(egress ? { egress } : {}), 0);
  assert.deepEqual(
    [
      told(),
      told({}),
      told({ keep: [] }),
      told({ keep: ["n"] }),
      told({ drop: ["secret"] }),
      told({ keep: ["n"], drop: ["n.m"] }),
      told({ drop: [] }),
    ],
    ["nothing", "nothing", "nothing", "n", "all but secret", "n, all but n.m", "everything"],
  );
});
