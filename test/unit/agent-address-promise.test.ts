/** What status promises of a cell's address: one sentence for each situation. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { addressPromise, addressViews } from "../../src/agent/address-promise.ts";
import { cellAddressAnnotation, type CellAddress, type Node } from "../../src/api/index.ts";

const addressAt = (holder: string | undefined): CellAddress => ({
  apiVersion: "skerry.dev/v1alpha1",
  kind: "CellAddress",
  metadata: { name: "cell" },
  spec: { addresses: ["192.0.2.50/24", "2001:db8::50/64"] },
  status:
    holder === undefined
      ? { conditions: [{ type: "Held", status: "False", message: "n1 needs root" }] }
      : { holder },
});
const node = (name: string, word: string): Node => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, annotations: { [cellAddressAnnotation("cell")]: word } },
});
const nodes = [node("n1", "ready"), node("n2", "ready"), node("n3", "no signal")];

const say = (
  holder: string | undefined,
  cell: { servers?: string[]; undecided?: boolean; gone?: string[] } = {},
) => {
  const [view] = addressViews([addressAt(holder)], nodes);
  assert.ok(view);
  const { holds, text } = addressPromise(view, {
    servers: cell.servers ?? ["n1"],
    undecided: cell.undecided ?? false,
    gone: (name) => cell.gone?.includes(name) ?? false,
  });
  assert.match(text, /^192\.0\.2\.50, 2001:db8::50 is|^192\.0\.2\.50, 2001:db8::50 (stays|went)/);
  return `${holds ? "kept" : "suspended"}: ${text.replace("192.0.2.50, 2001:db8::50 ", "")}`;
};

test("the address is promised where another could take it, and where it stays; else it is said what happens", () => {
  const servers = ["n1", "n2", "n3"];
  assert.equal(
    say("n2"),
    "kept: is with n2; if that is lost, another node takes it within seconds.",
  );
  assert.match(say("n1"), /^suspended: .*n1, the only server/);
  assert.match(say("n1", { servers }), /^kept: is with n1/);
  assert.match(say("n2", { gone: ["n1"], servers }), /^suspended: .*no other node could take it/);
  assert.match(say(undefined), /^suspended: is held by nobody: n1 needs root/);
  const serverLost = { undecided: true, gone: ["n1"] };
  assert.match(say("n2", serverLost), /^kept: stays with n2 .* until n1 is back/);
  assert.match(say("n1", serverLost), /^suspended: went with n1/);
  assert.match(say("n2", { ...serverLost, servers }), /^suspended: is given up by n2.*quorum/);
});
