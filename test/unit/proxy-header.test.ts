/** PROXY protocol version 2: what balancers send, what they must not, and any bytes at all. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import * as fc from "fast-check";
import { parseBalancers } from "../../src/transport/index.ts";
import { crc32c, parseProxyHeader } from "../../src/transport/proxy-header.ts";
import { proxyHeader } from "../support/proxy-header.ts";

const field = (type: number, value: Uint8Array) =>
  Buffer.from([type, value.length >> 8, value.length & 255, ...value]);
const whyOf = (bytes: Buffer) => {
  const header = parseProxyHeader(bytes);
  return header.state === "refused" ? `${header.why} (${header.hint})` : header.state;
};

test("headers that balancers send, whole and cut anywhere", () => {
  const ipv4 = fc.ipV4().map((address) => ({ address, kind: 0x11 }));
  const ipv6 = fc
    .array(fc.integer({ min: 0x1000, max: 0xffff }), { minLength: 8, maxLength: 8 })
    .map((groups) => ({
      address: groups.map((group) => group.toString(16)).join(":"),
      kind: 0x21,
    }));
  const fields = fc.array(
    fc.tuple(fc.integer({ min: 0x20, max: 0xff }), fc.uint8Array({ maxLength: 40 })),
    { maxLength: 4 },
  );
  fc.assert(
    fc.property(
      fc.oneof(ipv4, ipv6),
      fc.integer({ min: 0, max: 65_535 }),
      fields,
      fc.uint8Array({ maxLength: 20 }),
      ({ address, kind }, port, more, rest) => {
        const header = proxyHeader(
          { address, port, kind },
          Buffer.concat(more.map(([type, value]) => field(type, value))),
        );
        assert.deepEqual(parseProxyHeader(Buffer.concat([header, rest])), {
          state: "read",
          length: header.length,
          source: { address, port },
        });
        for (let end = 0; end < header.length; end++)
          assert.deepEqual(parseProxyHeader(header.subarray(0, end)), { state: "short" });
      },
    ),
    { seed: 7 },
  );
});

test("any bytes, and good headers with some changed, are read or refused, and never more than they are", () => {
  const good = proxyHeader(
    { address: "192.0.2.1", port: 443 },
    Buffer.concat([field(0x04, Buffer.alloc(3)), field(0xe0, Buffer.from("name"))]),
  );
  const changed = fc
    .array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 4 })
    .map((changes) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of changes) bytes[at] = value;
      return bytes;
    });
  const behindSignature = fc
    .uint8Array({ maxLength: 80 })
    .map((bytes) => Buffer.concat([good.subarray(0, 12), bytes]));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
        changed,
        behindSignature,
      ),
      (bytes) => {
        const header = parseProxyHeader(bytes);
        if (header.state === "refused") assert.ok(header.why !== "" && header.hint !== "");
        if (header.state === "read")
          assert.ok(header.length >= 16 && header.length <= bytes.length);
      },
    ),
    { seed: 7, numRuns: 2000 },
  );
});

test("what is no header of version 2 over TCP is refused with what to do", () => {
  const tcp = { address: "192.0.2.1", port: 443 };
  const good = proxyHeader(tcp);
  const with_ = (at: number, value: number) => {
    const bytes = Buffer.from(good);
    bytes[at] = value;
    return bytes;
  };
  for (const [bytes, why] of [
    [Buffer.from("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), /version 1 .*send-proxy-v2/],
    [Buffer.from("P"), /version 1/],
    [Buffer.from([0x16, 3, 1]), /TLS without a PROXY header .*leave --proxy-protocol out/],
    [Buffer.from("GET / HTTP/1.1\r\n"), /no PROXY header/],
    [with_(12, 0x11), /version and command 17/],
    [with_(12, 0x22), /version and command 34/],
    [with_(13, 0x12), /none of a TCP connection/],
    [with_(14, 0xff), /says that it has/],
    [with_(15, 11), /cut short/],
    [proxyHeader(tcp, Buffer.from([4, 0])), /field .* cut short/],
    [proxyHeader(tcp, Buffer.from([4, 0, 9, 1])), /longer than the header/],
    [proxyHeader(tcp, field(3, Buffer.alloc(4))), /checksum .* wrong/],
  ] as const)
    assert.match(whyOf(bytes), why);
});

test("health checks and clients without an address have none; a checksum that is right is taken", () => {
  for (const header of [
    proxyHeader({ address: "192.0.2.1", port: 1, command: 0 }),
    proxyHeader({ address: "", port: 0, kind: 0x00 }),
  ])
    assert.deepEqual(parseProxyHeader(header), { state: "read", length: header.length });
  // RFC 3720, appendix B.4
  assert.equal(crc32c(new Uint8Array(32)), 0x8a91_36aa);
  const header = proxyHeader({ address: "192.0.2.1", port: 1 }, field(3, Buffer.alloc(4)));
  header.writeUInt32BE(crc32c(header), header.length - 4);
  assert.equal(parseProxyHeader(header).state, "read");
  const mapped = proxyHeader({ address: "0:0:0:0:0:ffff:c000:201", port: 5, kind: 0x21 });
  const read = parseProxyHeader(mapped);
  assert.deepEqual(read.state === "read" && read.source, { address: "192.0.2.1", port: 5 });
});

test("balancers are named by addresses and networks", () => {
  const balancers = parseBalancers("192.0.2.7, 198.51.100.0/24,2001:db8::/64");
  assert.deepEqual(
    [
      ...["192.0.2.7", "::ffff:192.0.2.7", "198.51.100.200", "2001:db8::5"],
      ...["192.0.2.8", "2001:db9::5", ""],
    ].map(balancers),
    [true, true, true, true, false, false, false],
  );
  for (const wrong of ["", "balancer.example", "192.0.2.7/33", "192.0.2.7,"])
    assert.throws(() => parseBalancers(wrong), { code: "invalid-config" });
});
