/**
 * Whether a datagram is a beat. It costs its sender nothing and us a signature check, so the cheap
 * questions come first: shape, a certificate that is known or can be afforded, a beat that is new,
 * and only then the signature. What is spent on strangers is limited in total; a sender whose last
 * beat was good has a limit of its own, which noise from other addresses cannot use up.
 */
import { createHash, verify, type KeyObject } from "node:crypto";
import { decodeBeat, splitBeat, type Beat } from "../../api/records/index.ts";
import { verifyChain, type Trust } from "../../identity/index.ts";
import type { MonotonicMs } from "../../lib/brand.ts";
import type { Clock } from "../../lib/clock.ts";

export type BeatRefusal =
  /** Not a beat at all. */
  | "shape"
  /** More than is judged in a second. */
  | "flood"
  | "certificate"
  | "signature"
  /** The payload is torn, or speaks for another node than its certificate. */
  | "payload"
  | "replay";

type Sender = {
  readonly node: string;
  readonly key: KeyObject;
  readonly fromMs: number;
  readonly untilMs: number;
};

type Keeper = {
  readonly bootId: string;
  readonly startedMs: number;
  readonly sequence: number;
  readonly heardMs: MonotonicMs;
  readonly address: string;
  /** `BOOT/START` of those before it. */
  readonly retired: readonly string[];
};

const sendersMax = 256;
const newCertificatesPerSecond = 50;
const newCertificatesPerAddress = 5;
/** Keepers beat four times a second. */
const beatsPerGoodSender = 40;
const beatsOfStrangersPerSecond = 200;
/**
 * A board without a battery reboots into the past: its new keeper seems older than the last. It is
 * believed once the last one has been silent for this long.
 */
const silenceMs = 3000;
const retiredMax = 16;
const ratesMax = 1024;

export function createBeatJudge(deps: {
  clock: Clock;
  nowMs: () => number;
  trust: () => Trust;
}): (datagram: Uint8Array, address: string) => Beat | BeatRefusal {
  const { clock } = deps;
  const senderByHash = new Map<string, Sender>();
  const keeperByNode = new Map<string, Keeper>();
  const allow = createRates(clock);
  let trusted: Trust | undefined;

  const senderOf = (certificate: Uint8Array, address: string): Sender | BeatRefusal => {
    const trust = deps.trust();
    if (trust !== trusted) senderByHash.clear();
    trusted = trust;
    const hash = createHash("sha256").update(certificate).digest("base64");
    const known = senderByHash.get(hash);
    const nowMs = deps.nowMs();
    if (known) return nowMs >= known.fromMs && nowMs <= known.untilMs ? known : "certificate";
    const isAffordable =
      allow(`certificates ${address}`, newCertificatesPerAddress) &&
      allow("certificates", newCertificatesPerSecond);
    if (!isAffordable) return "flood";
    const verdict = verifyChain([Uint8Array.from(certificate)], trust, nowMs);
    if (!verdict.ok || verdict.subject.path[0] !== "node") return "certificate";
    const sender: Sender = {
      node: verdict.subject.path[1] ?? "",
      key: verdict.leaf.publicKey,
      fromMs: verdict.fromMs,
      untilMs: verdict.untilMs,
    };
    senderByHash.set(hash, sender);
    const [oldest] = senderByHash.keys();
    if (senderByHash.size > sendersMax && oldest !== undefined) senderByHash.delete(oldest);
    return sender;
  };

  return (datagram, address) => {
    const parts = splitBeat(datagram);
    if (!parts) return "shape";
    const sender = senderOf(parts.certificate, address);
    if (typeof sender === "string") return sender;
    const beat = decodeBeat(parts.payload);
    if (!beat || beat.node !== sender.node) return "payload";
    const last = keeperByNode.get(beat.node);
    const heardMs = clock.monotonicMs();
    if (last && !follows(last, beat, heardMs)) return "replay";
    const isAffordable =
      last?.address === address
        ? allow(`beats ${beat.node}`, beatsPerGoodSender)
        : allow("beats", beatsOfStrangersPerSecond);
    if (!isAffordable) return "flood";
    const key = { key: sender.key, dsaEncoding: "ieee-p1363" as const };
    if (!verify("sha256", parts.signed, key, parts.signature)) return "signature";
    const { bootId, keeperStartedMs: startedMs, sequence } = beat;
    const isSame = last?.bootId === bootId && last.startedMs === startedMs;
    const retired =
      last && !isSame ? [...last.retired, nameOf(last)].slice(-retiredMax) : (last?.retired ?? []);
    keeperByNode.set(beat.node, { bootId, startedMs, sequence, heardMs, address, retired });
    return beat;
  };
}

const nameOf = ({ bootId, startedMs }: { bootId: string; startedMs: number }) =>
  `${bootId}/${startedMs}`;

/** Grows within a keeper, and from keeper to keeper; see `silenceMs` for the exception. */
function follows(last: Keeper, beat: Beat, nowMs: MonotonicMs): boolean {
  const { bootId, keeperStartedMs: startedMs, sequence } = beat;
  if (startedMs === last.startedMs && bootId === last.bootId) return sequence > last.sequence;
  if (last.retired.includes(nameOf({ bootId, startedMs }))) return false;
  return startedMs > last.startedMs || nowMs - last.heardMs >= silenceMs;
}

/** True while `key` was asked for less than `perSecond` times in this second. */
function createRates(clock: Clock): (key: string, perSecond: number) => boolean {
  const countByKey = new Map<string, number>();
  let secondStartedMs = clock.monotonicMs();
  return (key, perSecond) => {
    const nowMs = clock.monotonicMs();
    if (nowMs - secondStartedMs >= 1000) {
      secondStartedMs = nowMs;
      countByKey.clear();
    }
    const count = (countByKey.get(key) ?? 0) + 1;
    // Floods from invented addresses.
    if (count === 1 && countByKey.size >= ratesMax) return false;
    countByKey.set(key, count);
    return count <= perSecond;
  };
}
