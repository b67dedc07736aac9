/** The pure parts of the etcd engine: its wire format, outcomes, flags, versions and log lines. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { assert as check, bigInt, integer, property } from "fast-check";
import * as wire from "../../src/ledger/etcd/client/messages.ts";
import { classify } from "../../src/ledger/etcd/client/outcome.ts";
import { Encoded } from "../../src/ledger/etcd/client/wire.ts";
import {
  assertReads,
  etcdCommand,
  eventOfLine,
  parseEtcdVersion,
  whyNotRestart,
  type EtcdMemberOptions,
  type EtcdMemberStatus,
} from "../../src/ledger/etcd/index.ts";
import { createLineTaker } from "../../src/ledger/etcd/process/log-files.ts";
import { durationMs } from "../../src/ledger/etcd/process/log-events.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const ascii = (text: string) => new TextEncoder().encode(text);

test("a request is encoded as protoc's output is", () => {
  // PutRequest{key: "a", value: "b", lease: 300}
  assert.equal(
    hex(wire.putRequest.encode({ key: ascii("a"), value: ascii("b"), lease: 300n })),
    "0a016112016218ac02",
  );
  // Compare{result: EQUAL, target: MOD, key: "k", mod_revision: 0}: a member of a oneof is written.
  assert.equal(
    hex(
      wire.compare.encode({
        result: wire.compareEqual,
        target: wire.targetModRevision,
        key: ascii("k"),
        modRevision: 0,
      }),
    ),
    "080010021a016b3000",
  );
});

test("what was encoded before stands where its plain form may", () => {
  const put = { put: { key: ascii("a"), value: ascii("1") } };
  const plain = wire.txnRequest.encode({ success: [put] });
  const encoded = wire.txnRequest.encode({ success: [new Encoded(wire.requestOp.encode(put))] });
  assert.equal(hex(encoded), hex(plain));
});

test("messages survive encoding, ids of 64 bits and negative counts included", () => {
  const id = bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const count = integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER });
  check(
    property(id, id, count, count, (clusterId, memberId, revision, raftTerm) => {
      const header = { clusterId, memberId, revision, raftTerm };
      assert.deepEqual(wire.header.decode(wire.header.encode(header)), header);
    }),
  );
  const keyValue = {
    key: ascii("key"),
    createRevision: 1,
    modRevision: 2 ** 40,
    version: 3,
    value: new Uint8Array([0, 255]),
    lease: 2n ** 63n - 1n,
  };
  const range = { header: undefined, kvs: [keyValue, keyValue], more: true };
  assert.deepEqual(wire.rangeResponse.decode(wire.rangeResponse.encode(range)), range);
});

test("a message that ends anywhere but between two fields is refused", () => {
  const kvs = [{ key: ascii("k"), value: ascii("value"), modRevision: 2 ** 40, lease: 5n }];
  const whole = wire.rangeResponse.encode({ header: { clusterId: 2n ** 63n, revision: 300 }, kvs });
  const header = wire.rangeResponse.encode({ header: { clusterId: 2n ** 63n, revision: 300 } });
  for (let end = 1; end < whole.length; end++) {
    if (end === header.length) continue;
    assert.throws(() => wire.rangeResponse.decode(whole.subarray(0, end)), RangeError, `${end}`);
  }
  // A part that claims to be longer than what it stands in.
  const bytes = Buffer.from("0a020805", "hex");
  assert.equal(wire.headerResponse.decode(bytes).header?.clusterId, 5n);
  bytes[1] = 3;
  assert.throws(() => wire.headerResponse.decode(bytes), RangeError);
  assert.throws(
    () => wire.header.decode(Buffer.from("18ffffffffffffffffffff01", "hex")),
    RangeError,
  );
});

test("unknown fields of a later etcd are skipped, absent ones are their defaults", () => {
  const later = Buffer.concat([
    wire.headerResponse.encode({ header: { revision: 7 } }),
    Buffer.from("9a06036e6577", "hex"),
    Buffer.from("a80601", "hex"),
  ]);
  assert.equal(wire.headerResponse.decode(later).header?.revision, 7);
  assert.deepEqual(wire.statusResponse.decode(new Uint8Array()), {
    header: undefined,
    version: "",
    dbSize: 0,
    leader: 0n,
    raftIndex: 0,
    raftTerm: 0,
    raftAppliedIndex: 0,
    errors: [],
    dbSizeInUse: 0,
    isLearner: false,
  });
});

test("only an allow-list of failures is definite", () => {
  const kinds = (failures: readonly (readonly [number, string])[]) =>
    failures.map(([code, details]) => classify({ code, details }));
  assert.deepEqual(
    kinds([
      [14, "No connection established. Last error: connect ECONNREFUSED 127.0.0.1:1"],
      [2, "raft proposal dropped"],
      [8, "etcdserver: too many requests"],
    ]),
    ["not-done", "not-done", "not-done"],
  );
  assert.deepEqual(
    kinds([
      [5, "etcdserver: requested lease not found"],
      [8, "etcdserver: mvcc: database space exceeded"],
      [11, "etcdserver: mvcc: required revision has been compacted"],
      [3, "etcdserver: duplicate key given in txn request"],
    ]),
    ["refused", "refused", "refused", "refused"],
  );
  assert.deepEqual(
    kinds([
      [14, "Connection dropped"],
      [14, "read ECONNRESET"],
      [14, "etcdserver: request timed out"],
      [14, "etcdserver: leader changed"],
      [4, "no answer within 500 ms"],
      [2, "context deadline exceeded"],
      [13, "Received RST_STREAM with code 2"],
      [8, "Received message larger than max"],
      [1, "Cancelled on client"],
    ]),
    Array.from({ length: 9 }, () => "unknown"),
  );
});

const member: EtcdMemberOptions = {
  name: "n1",
  dataDir: "/data/ledger/etcd",
  host: "fd00::1",
  clientPort: 7446,
  peerPort: 7447,
  files: { cert: "/tls/cert.pem", key: "/tls/key.pem", ca: "/tls/ca.pem" },
  peerCommonName: "ledger",
  initial: {
    state: "existing",
    token: "t1",
    peers: [
      { name: "n1", peerUrl: "https://[fd00::1]:7447" },
      { name: "n2", peerUrl: "https://10.0.0.2:7447" },
    ],
  },
  timers: { heartbeatMs: 50, electionMs: 500 },
};

test("a member's command asks for certificates on both sides and names its peers", () => {
  const { args } = etcdCommand(member, { major: 3, minor: 4, patch: 23 });
  for (const flag of [
    "--client-cert-auth=true",
    "--peer-client-cert-auth=true",
    "--peer-cert-allowed-cn=ledger",
    "--listen-client-urls=https://[fd00::1]:7446",
    "--initial-advertise-peer-urls=https://[fd00::1]:7447",
    "--initial-cluster=n1=https://[fd00::1]:7447,n2=https://10.0.0.2:7447",
    "--initial-cluster-state=existing",
    "--election-timeout=500",
  ])
    assert.ok(args.includes(flag), flag);
  assert.ok(!args.some((arg) => arg.startsWith("--force-new-cluster")));
  assert.ok(
    etcdCommand(
      { ...member, forceNewCluster: true },
      { major: 3, minor: 4, patch: 23 },
    ).args.includes("--force-new-cluster"),
  );
});

test("what is an experiment before 3.6 and a setting from then on has the right name", () => {
  const names = (minor: number) =>
    Object.keys(etcdCommand(member, { major: 3, minor, patch: 0 }).env);
  assert.ok(names(4).includes("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL"));
  assert.ok(names(5).includes("ETCD_EXPERIMENTAL_PEER_SKIP_CLIENT_SAN_VERIFICATION"));
  assert.ok(names(6).includes("ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL"));
});

test("a version is read from what etcd prints", () => {
  const printed = "etcd Version: 3.4.23\nGit SHA: Not provided\nGo Version: go1.19.8\n";
  assert.deepEqual(parseEtcdVersion(printed), { major: 3, minor: 4, patch: 23 });
  assert.deepEqual(parseEtcdVersion("v3.6.0"), { major: 3, minor: 6, patch: 0 });
  assert.equal(parseEtcdVersion("bash: etcd: command not found"), undefined);
});

test("data is opened by its own minor version and the next one only", () => {
  const at = (minor: number) => ({ major: 3, minor, patch: 1 });
  assertReads(at(4), at(4));
  assertReads(at(5), at(4));
  assert.throws(() => assertReads(at(4), at(5)), { code: "ledger-data-newer" });
  assert.throws(() => assertReads(at(6), at(4)), {
    code: "ledger-data-newer",
    hint: /etcd 3\.5 first/,
  });
});

test("log lines become events", () => {
  const line = (fields: object) => eventOfLine(JSON.stringify({ level: "warn", ...fields }));
  assert.deepEqual(line({ msg: "slow fdatasync", took: "1.25s", "expected-duration": "1s" }), {
    kind: "slow-fsync",
    tookMs: 1250,
  });
  assert.deepEqual(
    line({ msg: "raft.node: b87edccd5ae71924 elected leader 2351d906ec64bf4e at term 7" }),
    { kind: "leader-elected", leaderId: "2545053888200097614", term: 7 },
  );
  assert.deepEqual(
    line({ msg: "raft.node: b87edccd5ae71924 lost leader 2351d906ec64bf4e at term 8" }),
    { kind: "leader-lost", term: 8 },
  );
  assert.deepEqual(
    line({ msg: "peer became inactive (message send to peer failed)", "peer-id": "ff" }),
    { kind: "member-unreachable", memberId: "255" },
  );
  assert.deepEqual(
    line({ msg: "prober found high clock drift", "clock-drift": "-3m2s", "remote-peer-id": "1" }),
    { kind: "clock-difference", memberId: "1", differenceMs: 182_000 },
  );
  assert.deepEqual(
    line({
      level: "fatal",
      msg: "failed to save Raft state",
      error: "write 0.wal: no space left on device",
    }),
    { kind: "disk-full" },
  );
  assert.deepEqual(
    line({
      msg: "stopped remote peer",
      error: "the member has been permanently removed from the cluster",
    }),
    { kind: "removed" },
  );
  assert.deepEqual(line({ level: "fatal", msg: "discovery failed", error: "wal: crc mismatch" }), {
    kind: "corrupt",
    message: "discovery failed: wal: crc mismatch",
  });
  assert.deepEqual(line({ level: "fatal", msg: "discovery failed", error: "no such file" }), {
    kind: "fatal",
    message: "discovery failed: no such file",
  });
  assert.equal(
    line({ msg: "rejected connection", "remote-addr": "1.2.3.4:5", error: "EOF" }),
    undefined,
  );
  assert.equal(line({ level: "info", msg: "compacted Raft logs" }), undefined);
  assert.equal(eventOfLine('{"level":"warn","msg":"slow fd'), undefined);
});

test("durations are read as Go writes them", () => {
  assert.deepEqual(
    ["1m2.5s", "350.5ms", "12µs", "-1s", ""].map(durationMs),
    [62_500, 350.5, 0.012, -1_000, 0],
  );
});

test("container logs are put together from parts, wherever a chunk ends", () => {
  const log =
    "2026-01-01T00:00:00Z stderr P one \n2026-01-01T00:00:00Z stderr F line\n2026 stdout F two\n";
  for (let cut = 0; cut <= log.length; cut++) {
    const seen: string[] = [];
    const take = createLineTaker((text) => seen.push(text));
    take(log.slice(0, cut));
    take(log.slice(cut));
    assert.deepEqual(seen, ["one line", "two"]);
  }
});

test("a member is restarted only while all others are well", () => {
  const answers = (name: string, more: Partial<EtcdMemberStatus> = {}): EtcdMemberStatus =>
    ({ state: "answers", name, id: name, leaderId: "n1", errors: [], ...more }) as EtcdMemberStatus;
  const silent: EtcdMemberStatus = { state: "unreachable", name: "n2", error: new Error("no") };
  assert.equal(whyNotRestart([answers("n1"), answers("n2")], "n1"), undefined);
  assert.equal(whyNotRestart([answers("n1"), silent], "n2"), undefined);
  assert.match(whyNotRestart([answers("n1"), silent], "n1") ?? "", /n2 does not answer/);
  assert.match(
    whyNotRestart([answers("n1", { errors: ["alarm:NOSPACE"] })], "n1") ?? "",
    /NOSPACE/,
  );
  assert.match(whyNotRestart([answers("n1", { leaderId: undefined })], "n1") ?? "", /no leader/);
});
