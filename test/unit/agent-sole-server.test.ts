/** After a restore: machines that are called servers and are none. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { correctServerRoles } from "../../src/agent/sole-server.ts";
import { nodeKind, serverRoleLabel, type Node } from "../../src/api/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { waitFor } from "../support/wait.ts";

const node = (name: string, isServer: boolean) =>
  nodeKind.schema.parse({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels: isServer ? { [serverRoleLabel]: "" } : {} },
  }) as Node;

test("the only server takes the role from all others, once each, and leaves it while there are several", async () => {
  let tell = (_nodes: readonly Node[]) => {};
  let isSole = false;
  let refuse = true;
  const patched: string[] = [];
  correctServerRoles(
    { log: silentLog, record: { node: "n1" } as never },
    {
      mirrored: { follow: (_kind, listener) => (tell = listener as never) },
      upstream: {
        patch: (async (_kind: unknown, { name }: { name: string }) => {
          patched.push(name);
          return refuse ? { state: "refused", reason: "conflict", message: "" } : { state: "done" };
        }) as never,
      },
      isSoleServer: () => isSole,
    },
  );
  const nodes = [node("n1", true), node("n2", false), node("n3", true)];
  tell(nodes);
  assert.deepEqual(patched, [], "three servers are three servers");
  isSole = true;
  tell(nodes);
  await waitFor(() => patched.length === 1, { what: "the first attempt" });
  refuse = false;
  await new Promise((resolve) => setImmediate(resolve));
  tell(nodes);
  await waitFor(() => patched.length === 2, { what: "the second attempt" });
  await new Promise((resolve) => setImmediate(resolve));
  tell(nodes);
  assert.deepEqual(patched, ["n3", "n3"], "refused once, then done once");
});
