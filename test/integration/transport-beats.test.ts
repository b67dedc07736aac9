import { strict as assert } from "node:assert";
import { createPrivateKey, sign } from "node:crypto";
import { createSocket } from "node:dgram";
import { test } from "node:test";
import * as fc from "fast-check";
import { encodeBeat, type Beat } from "../../src/api/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createBeatJudge } from "../../src/transport/beats/judge-beat.ts";
import { listenBeats } from "../../src/transport/index.ts";
import { derOf, forge } from "../support/identity.ts";
import { testCell, testDeps } from "../support/transport.ts";
import { waitFor } from "../support/wait.ts";

const cell = await testCell();
const impostor = await testCell();
const n1 = await cell.credentials("node", "n1");
const n2 = await cell.credentials("node", "n2");

const beatOf = (sequence: number, changes: Partial<Beat> = {}): Beat => ({
  node: "n1",
  bootId: "boot-1",
  keeperStartedMs: 1_000_000,
  sequence,
  agent: "up",
  heard: { n2: 12 },
  ...changes,
});

function signed(beat: Beat, credentials = n1): Uint8Array {
  const [leaf = new Uint8Array()] = derOf(credentials.chainPem);
  const bytes = encodeBeat(leaf, beat);
  const key = createPrivateKey(credentials.keyPem);
  const signature = sign("sha256", bytes, { key, dsaEncoding: "ieee-p1363" });
  return Buffer.concat([bytes, signature]);
}

function judge() {
  const clock = createSimulatedClock();
  const decide = createBeatJudge({ clock, nowMs: () => Date.now(), trust: () => cell.trust });
  return {
    clock,
    of: (datagram: Uint8Array, address = "127.0.0.11") => {
      const outcome = decide(datagram, address);
      return typeof outcome === "string" ? outcome : outcome.sequence;
    },
  };
}

test("T11: a beat is taken once, in growing order, from keeper to keeper", () => {
  const { of } = judge();
  assert.equal(of(signed(beatOf(1))), 1);
  assert.equal(of(signed(beatOf(1))), "replay");
  assert.equal(of(signed(beatOf(5))), 5);
  assert.equal(of(signed(beatOf(3))), "replay");
  assert.equal(of(signed(beatOf(1, { keeperStartedMs: 2_000_000 }))), 1);
  assert.equal(of(signed(beatOf(9))), "replay", "the keeper before");
});

test("T11: a keeper that seems older is believed only after silence, a retired one never", async () => {
  const { of, clock } = judge();
  assert.equal(of(signed(beatOf(1))), 1);
  const reset = { bootId: "boot-2", keeperStartedMs: 1000 };
  assert.equal(of(signed(beatOf(1, reset))), "replay");
  await clock.advance(3000);
  assert.equal(of(signed(beatOf(2, reset))), 2);
  await clock.advance(60_000);
  assert.equal(of(signed(beatOf(100))), "replay");
});

test("T12: foreign, expired, nodeless and tampered beats are refused by reason", async () => {
  const { of } = judge();
  assert.equal(of(signed(beatOf(1), await impostor.credentials("node", "n1"))), "certificate");
  const app = await cell.credentials("app", "n1");
  assert.equal(of(signed(beatOf(1), app)), "certificate");
  assert.equal(of(signed(beatOf(1), n2)), "payload", "n2 speaks for n1");
  const old = await forge({
    signer: cell.authority.signer,
    keyPem: n1.keyPem,
    uris: ["spiffe://cell-a.skerry/node/n1"],
    notBeforeMs: 0,
    notAfterMs: Date.now() - 1000,
  });
  const expired = encodeBeat(old, beatOf(1));
  assert.equal(of(Buffer.concat([expired, Buffer.alloc(64)])), "certificate");
  const tampered = Buffer.from(signed(beatOf(1)));
  tampered[tampered.length - 1]! ^= 1;
  assert.equal(of(tampered), "signature");
  assert.equal(of(signed(beatOf(1))), 1, "a refused beat takes nothing from the true one");
  const bad = { ...beatOf(2), agent: "sideways" } as unknown as Beat;
  assert.equal(of(signed(bad)), "payload");
});

test("T13: noise from elsewhere does not silence a node whose beats are good", async () => {
  const { of, clock } = judge();
  assert.equal(of(signed(beatOf(1))), 1);
  // The first good beat was a stranger's too: 199 of 200 are left.
  const forged = Buffer.from(signed(beatOf(1_000_000)));
  forged[forged.length - 1]! ^= 1;
  const outcomes = Array.from({ length: 1000 }, () => of(forged, "10.0.0.66"));
  assert.equal(outcomes.filter((outcome) => outcome === "signature").length, 199);
  assert.equal(outcomes.filter((outcome) => outcome === "flood").length, 801);
  assert.equal(of(signed(beatOf(2))), 2);
  const strangers = seededRandom(3);
  for (let i = 0; i < 500; i++) {
    const bytes = encodeBeat(strangers.bytes(300), beatOf(1));
    const outcome = of(Buffer.concat([bytes, strangers.bytes(64)]), "10.0.0.66");
    assert.equal(outcome, i < 5 ? "certificate" : "flood");
  }
  assert.equal(of(signed(beatOf(3))), 3);
  await clock.advance(1000);
  assert.equal(of(signed(beatOf(1, { node: "n2" }), n2), "127.0.0.12"), 1);
});

test("T12: no datagram crashes the judge, none but a true beat is taken", () => {
  const { of } = judge();
  const good = signed(beatOf(1));
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const damaged = Buffer.from(good);
      damaged[at]! ^= flip;
      assert.equal(typeof of(damaged), "string");
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
      assert.equal(of(Buffer.concat([Buffer.from("SKB1"), bytes])), "shape");
    }),
  );
});

test("T11: beats arrive over UDP and refusals are counted", async () => {
  const seen: Beat[] = [];
  const listener = await listenBeats(testDeps, {
    host: "127.0.0.1",
    port: 0,
    trust: () => cell.trust,
    onBeat: (beat) => seen.push(beat),
  });
  const socket = createSocket("udp4");
  try {
    let sequence = 0;
    // Datagrams may be lost, on loopback too.
    await waitFor(
      () => {
        socket.send(signed(beatOf(++sequence)), listener.port, "127.0.0.1");
        socket.send(Buffer.from("noise"), listener.port, "127.0.0.1");
        return seen.length > 0 && listener.refusedByReason.has("shape");
      },
      { what: "a beat and a refusal" },
    );
    assert.deepEqual(seen[0]?.heard, { n2: 12 });
    assert.equal(listener.accepted, seen.length);
    await assert.rejects(
      listenBeats(testDeps, {
        host: "127.0.0.1",
        port: listener.port,
        trust: () => cell.trust,
        onBeat: () => {},
      }),
      { code: "port-in-use" },
    );
  } finally {
    socket.close();
    await listener.close();
  }
});
