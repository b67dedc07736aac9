/** The cell's servers in words: what answers now is not all that is known of a majority. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { serverLines } from "../../src/agent/server-lines.ts";
import type { EtcdMember, EtcdMemberStatus } from "../../src/ledger/index.ts";

const names = ["n1", "n2", "n3"];
const endpoints = names.map((name, index) => ({ name, host: `10.0.0.${index + 1}`, port: 7446 }));
const members = endpoints.map(({ name, host }): EtcdMember => ({
  ...{ id: `id-${name}`, name, isLearner: false },
  ...{ peerUrls: [`https://${host}:7447`], clientUrls: [`https://${host}:7446`] },
}));
const statusOf = (name: string): EtcdMemberStatus =>
  name === "n1"
    ? {
        ...{ state: "answers", name, id: "id-n1", clusterId: "c", version: "3.5.16" },
        ...{ leaderId: "id-n1", isLearner: false, raftTerm: 2, raftIndex: 9, raftAppliedIndex: 9 },
        ...{ etcdRevision: 7, dbBytes: 20, dbBytesInUse: 10, errors: [] },
      }
    : { state: "unreachable", name, error: new Error("No connection established") };
const cluster = { members: async () => members, status: async () => names.map(statusOf) };
const look = (isProved: boolean) =>
  serverLines(
    cluster,
    endpoints,
    () => true,
    undefined,
    () => isProved,
  );

test("members that are not called again yet lose no quorum that was proved a moment ago", async () => {
  const { quorum, words, servers } = await look(true);
  assert.equal(quorum, "held");
  assert.match(words, /^a majority agrees, and n2 and n3 are not reached from here yet/);
  assert.doesNotMatch(words, /recover/);
  assert.deepEqual(
    servers.map(({ state }) => state),
    ["leader", "unreachable", "unreachable"],
  );
});

test("without such a proof a majority that does not answer is lost", async () => {
  const { quorum, words } = await look(false);
  assert.equal(quorum, "lost");
  assert.match(
    words,
    /of three servers one is left, and two are needed; gone for good: skerry recover/,
  );
});
