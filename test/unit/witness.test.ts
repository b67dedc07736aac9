/** A witness: what it reads of itself, whom it hands leadership to, what is asked for, when its leaf is due. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRequest, witnessesOf } from "../../src/agent/paths/witness-path.ts";
import { parseListen } from "../../src/agent/host-port.ts";
import { etcdCommand, type EtcdMemberOptions } from "../../src/ledger/etcd/index.ts";
import { witnessLeafIsDue } from "../../src/ledger/servers/index.ts";
import { heirOf, readFigures } from "../../src/ledger/witness/index.ts";

const figures = (leads: 0 | 1, received: Readonly<Record<string, number>>) =>
  readFigures(
    [
      "# TYPE etcd_server_has_leader gauge",
      "etcd_server_has_leader 1",
      `etcd_server_is_leader ${leads}`,
      "etcd_server_is_learner 0",
      "etcd_mvcc_db_total_size_in_bytes 20480",
      "process_resident_memory_bytes 3.8e+07",
      ...Object.entries(received).map(
        ([id, bytes]) => `etcd_network_peer_received_bytes_total{From="${id}"} ${bytes}`,
      ),
      `etcd_network_peer_sent_bytes_total{To="1"} 300`,
      `etcd_network_peer_sent_bytes_total{To="2"} 7151`,
      "",
    ].join("\n"),
  );

test("L17: a witness reads its own figures", () => {
  const seen = figures(1, { baaa579dcd76c8dc: 7536 });
  assert.deepEqual(
    { ...seen, receivedBytesById: [...seen.receivedBytesById] },
    {
      hasLeader: true,
      leads: true,
      isLearner: false,
      ledgerBytes: 20480,
      residentBytes: 38_000_000,
      receivedBytesById: [["baaa579dcd76c8dc", 7536]],
      sentBytes: 7451,
    },
  );
});

test("L17: leadership goes to a server that is heard now, to none when none is, and only from one that leads", () => {
  const before = figures(1, { a1: 1000, b2: 900_000 });
  assert.equal(heirOf(before, figures(1, { a1: 1800, b2: 900_000 })), String(0xa1));
  assert.equal(heirOf(before, figures(1, { a1: 1800, b2: 905_000 })), String(0xb2));
  assert.equal(heirOf(before, figures(1, { a1: 1000, b2: 900_000 })), undefined);
  assert.equal(heirOf(before, figures(0, { a1: 1800, b2: 900_000 })), undefined);
});

test("a witness is known by its entry before its first start, and by its address without one", () => {
  const member = (id: string, more: object) => ({
    id,
    name: `m${id}`,
    peerUrls: [`https://10.0.0.${id}:7447`],
    clientUrls: [`https://10.0.0.${id}:7446`],
    isLearner: false,
    ...more,
  });
  const entry = { name: "w1", host: "h", port: 1, memberId: "3", issuedMs: 0, notAfterMs: 1 };
  const members = [
    member("1", {}),
    member("3", { name: "", clientUrls: [], isLearner: true }),
    member("4", { clientUrls: ["https://witness.invalid:7447"] }),
  ];
  assert.deepEqual(
    witnessesOf(members, [entry]).map(({ name, id, isLearner }) => [name, id, isLearner]),
    [
      ["w1", "3", true],
      ["m4", "4", false],
    ],
  );
});

test("a leaf is due from half its life on", () => {
  const leaf = { issuedMs: 1000, notAfterMs: 3000 };
  assert.deepEqual(
    [1000, 2000, 2001, 4000].map((nowMs) => witnessLeafIsDue(leaf, nowMs)),
    [false, false, true, true],
  );
});

test("what is asked for is refused by name when it is wrong", () => {
  assert.deepEqual(parseRequest({ name: "w1" }), { name: "w1" });
  assert.deepEqual(parseRequest({ name: "w1", address: "[2001:db8::7]:7447" }), {
    name: "w1",
    address: { host: "2001:db8::7", port: 7447 },
  });
  for (const body of [undefined, {}, { name: "W 1" }, { name: "w1", address: 7 }])
    assert.throws(() => parseRequest(body), { code: "invalid-argument" });
  assert.throws(() => parseRequest({ name: "w1", address: "10.0.0.9" }), {
    code: "invalid-argument",
  });
  assert.deepEqual(parseListen("10.0.0.7", 7447), { host: "10.0.0.7", port: 7447 });
  assert.throws(() => parseListen("10.0.0.7:70000", 7447), { code: "invalid-argument" });
});

test("L17: the command of a witness dials nobody, and opens its client port to this machine alone", () => {
  const files = { cert: "c", key: "k", ca: "a" };
  const options: EtcdMemberOptions = {
    name: "w1",
    dataDir: "/d",
    host: "10.0.0.9",
    clientPort: 1,
    peerPort: 7447,
    files,
    clients: { host: "127.0.0.1", files: { cert: "lc", key: "lk", ca: "la" } },
    peerCommonName: "ledger",
    initial: { state: "existing", token: "t", peers: [] },
    timers: { heartbeatMs: 100, electionMs: 1000 },
    dialsNobody: true,
  };
  const version = { major: 3, minor: 4, patch: 23 };
  const { args, env } = etcdCommand(options, version);
  assert.equal(env["HTTPS_PROXY"], "http://127.0.0.1:9");
  for (const flag of [
    "--listen-client-urls=https://127.0.0.1:1",
    "--listen-peer-urls=https://10.0.0.9:7447",
    "--trusted-ca-file=la",
    "--peer-trusted-ca-file=a",
    "--client-cert-auth=true",
  ])
    assert.ok(args.includes(flag), flag);
  const { dialsNobody: _, ...server } = options;
  assert.equal(etcdCommand(server, version).env["HTTPS_PROXY"], undefined);
});
