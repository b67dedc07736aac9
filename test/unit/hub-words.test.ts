/** What doctor and status say of a way to the hub on which something ends TLS. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { hubFailure, hubFindings } from "../../src/agent/hub-words.ts";
import { renderFleetStatus } from "../../src/cli/render-status.ts";
import { SkerryError } from "../../src/lib/errors.ts";

const hub = { state: "lost", address: "hub.example:9443" } as const;
const backlog = { entries: 0, bytes: 0, oldestMs: 0 };

test("a node's doctor names what was seen on the way to the hub, and what mends it", () => {
  const error = new SkerryError({
    code: "tls-terminated",
    message: "hub.example:9443 shows a certificate for edge.example",
    hint: "pass TCP through",
  });
  assert.deepEqual(hubFindings({ ...hub, backlog, ...hubFailure(error) }), [
    {
      check: "hub",
      state: "limited",
      found: "hub.example:9443 shows a certificate for edge.example",
      meaning: "no link to the hub at hub.example:9443: what goes there waits here",
      mend: "pass TCP through",
    },
  ]);
  assert.deepEqual(hubFailure(new Error("odd")), {
    failure: { code: "internal", message: "odd" },
  });
  assert.deepEqual(
    hubFindings({ ...hub, state: "connected", backlog }).map(({ state, found }) => [state, found]),
    [["ok", "linked, hub.example:9443"]],
  );
  assert.deepEqual(hubFindings({ state: "none", backlog }), []);
});

test("the hub's status tells what it refused and somebody can mend", () => {
  const refused = [
    { reason: "tls-terminated", count: 3, why: "no certificate", hint: "pass TCP", agoMs: 4000 },
  ];
  const text = renderFleetStatus({ hub: "hub", cells: [], refused }, { tabs: true, colors: false });
  assert.match(text, /3 connections refused, the last 4\.0s ago: no certificate\n {4}pass TCP/);
});
