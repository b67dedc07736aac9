/** Where nodes are: desired state, corrected by their own word; and members of the ledger that moved. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { isDeaf, tellMemberPlace } from "../../src/agent/member-place.ts";
import { createWhereabouts } from "../../src/agent/whereabouts.ts";
import { endpointsOf, nodeKind, podKind, type Node } from "../../src/api/index.ts";
import type { EtcdMember } from "../../src/ledger/index.ts";
import { silentLog } from "../../src/lib/log.ts";
import { isAddressHere } from "../../src/runtime/listen/index.ts";
import { nodeAt } from "../support/linked-node.ts";
import { collectingLog } from "../support/transport.ts";

const ports = { api: 7443, mesh: 7444, peers: 7445, ingress: 8080 };

function whereabouts() {
  const followers: ((nodes: readonly Node[]) => void)[] = [];
  const followed: (readonly [kind: unknown, selection: unknown])[] = [];
  const log = collectingLog();
  const made = createWhereabouts(
    { log },
    {
      follow(kind: unknown, listener: (objects: never) => void, selection?: unknown) {
        followed.push([kind, selection]);
        if (kind === nodeKind) followers.push(listener as (typeof followers)[number]);
      },
    },
  );
  const seen: string[][] = [];
  made.mirrored.follow(nodeKind, (nodes: readonly Node[]) =>
    seen.push(nodes.flatMap((node) => endpointsOf(node) ?? []).map(({ host }) => host)),
  );
  return {
    made,
    seen,
    followed,
    log,
    say: (nodes: readonly Node[]) => followers.forEach((f) => f(nodes)),
  };
}

test("a node's own word holds until desired state says something else of it", () => {
  const { made, seen, say } = whereabouts();
  const other = nodeAt("n1", "192.0.2.1", 7445);
  say([other, nodeAt("n2", "192.0.2.2", 7445)]);
  assert.equal(made.told("n2", { host: "192.0.2.2", ports }), false, "as it stands");
  assert.equal(made.told("n2", { host: "192.0.2.9", ports }), true);
  assert.equal(made.told("n2", { host: "192.0.2.9", ports }), false, "known by now");
  say([other, nodeAt("n2", "192.0.2.2", 7445)]);
  say([other, nodeAt("n2", "192.0.2.7", 7445)]);
  say([other, nodeAt("n2", "192.0.2.2", 7445)]);
  assert.deepEqual(seen, [
    ["192.0.2.1", "192.0.2.2"],
    ["192.0.2.1", "192.0.2.9"],
    ["192.0.2.1", "192.0.2.9"],
    ["192.0.2.1", "192.0.2.7"],
    ["192.0.2.1", "192.0.2.2"],
  ]);
});

test("the word of a node that the cell does not know makes no node", () => {
  const { made, seen, say, log } = whereabouts();
  say([nodeAt("n1", "192.0.2.1", 7445)]);
  assert.equal(made.told("n7", { host: "192.0.2.7", ports }), false);
  assert.deepEqual(seen, [["192.0.2.1"]]);
  assert.deepEqual(log.lines, []);
});

test("lists of other kinds go past as they are selected, and a part that fails keeps nothing from the others", () => {
  const { made, seen, followed, log, say } = whereabouts();
  const selection = { namespace: "shop" };
  made.mirrored.follow(podKind, () => assert.fail("no pod was told"), selection);
  assert.deepEqual(followed.at(-1), [podKind, selection]);
  made.mirrored.follow(nodeKind, (nodes: readonly Node[]) => {
    if (nodes.some((node) => endpointsOf(node)?.host === "192.0.2.9")) throw new Error("not read");
  });
  say([nodeAt("n2", "192.0.2.2", 7445)]);
  made.told("n2", { host: "192.0.2.9", ports });
  assert.deepEqual(seen.at(-1), ["192.0.2.9"]);
  assert.ok(log.lines.some(({ message }) => /did not take where a node is now/.test(message)));
});

test("a member is deaf only where its former address is this machine's no more", () => {
  const record = {
    member: "n2",
    endpoints: [
      { name: "n1", host: "192.0.2.1", port: 7446 },
      { name: "n2", host: "192.0.2.2", port: 7446 },
    ],
  };
  assert.equal(
    isDeaf(record, "192.0.2.9", () => false),
    true,
  );
  assert.equal(
    isDeaf(record, "192.0.2.9", () => true),
    false,
    "it still votes there",
  );
  assert.equal(
    isDeaf(record, "192.0.2.2", () => false),
    false,
    "it has not moved",
  );
  assert.equal(
    isDeaf({ ...record, endpoints: [] }, "192.0.2.9", () => false),
    false,
    "not known",
  );
  assert.equal(isAddressHere("127.3.2.1"), true);
  assert.equal(isAddressHere("192.0.2.1"), false);
});

const member = (id: string, at: string, peers = at): EtcdMember => ({
  id,
  name: `n${id}`,
  peerUrls: [`https://192.0.2.${peers}:7447`],
  clientUrls: [`https://192.0.2.${at}:7446`],
  isLearner: false,
});

async function toldUrls(members: readonly EtcdMember[], host = "192.0.2.9"): Promise<unknown[]> {
  const told: unknown[] = [];
  await tellMemberPlace(
    { log: silentLog },
    { updatePeers: async (id, urls) => void told.push([id, urls]) },
    members,
    { node: "n2", host, memberId: "2", peerUrl: `https://${host}:7447` },
  );
  return told;
}

test("L18: a member tells its new place once it serves there, and never takes another's", async () => {
  const [one, three] = [member("1", "1"), member("3", "3")];
  assert.deepEqual(await toldUrls([one, member("2", "9", "2"), three]), [
    ["2", ["https://192.0.2.9:7447"]],
  ]);
  assert.deepEqual(await toldUrls([one, member("2", "2"), three]), [], "it listens where it was");
  assert.deepEqual(await toldUrls([one, member("2", "9"), three]), [], "they know");
  assert.deepEqual(await toldUrls([one, three]), [], "it was removed");
  await assert.rejects(toldUrls([one, member("2", "3", "2"), three], "192.0.2.3"), {
    code: "address-taken",
    message: /n2 cannot be at https:\/\/192\.0\.2\.3:7447: the ledger's members look for n3 there/,
  });
});
