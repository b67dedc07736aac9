/** Who tells a node of the cell's hub. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { cellConfigName } from "../../src/agent/bindings.ts";
import { followHubAddress } from "../../src/agent/cell-hub.ts";
import { configMapKind, type ConfigMap } from "../../src/api/index.ts";

function follow(record: { hub?: string }) {
  const told: string[] = [];
  const says: ((maps: readonly ConfigMap[]) => void)[] = [];
  followHubAddress(
    {
      record,
      mirrored: {
        follow(kind: unknown, listener: (objects: never) => void, selection?: unknown) {
          assert.equal(kind, configMapKind);
          assert.deepEqual(selection, {
            namespace: "kube-system",
            fieldSelector: `metadata.name=${cellConfigName}`,
          });
          says.push(listener as (typeof says)[number]);
        },
      },
    },
    (address) => told.push(address),
  );
  const say = (...hubs: string[]) =>
    says.forEach((listener) =>
      listener(
        hubs.map((hub) => ({
          ...{ apiVersion: "v1", kind: "ConfigMap" },
          ...{ metadata: { name: cellConfigName }, data: { hub } },
        })),
      ),
    );
  return { told, say };
}

test("the hub is known by the node's record, and by what the cell tells all nodes", () => {
  const worker = follow({});
  worker.say();
  assert.deepEqual(worker.told, []);
  worker.say("hub:9443");
  assert.deepEqual(worker.told, ["hub:9443"]);
  const server = follow({ hub: "hub:9443" });
  assert.deepEqual(server.told, ["hub:9443"]);
  server.say("moved:9443");
  assert.deepEqual(server.told, ["hub:9443", "moved:9443"]);
});
