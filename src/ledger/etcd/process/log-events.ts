/**
 * What etcd says, as events: pure, line by line. The words are those of etcd 3.4 to 3.6 with
 * `--logger=zap`; a line that means nothing to anybody is undefined, and stands in its log.
 */
export type EtcdEvent =
  | { readonly kind: "ready" }
  /** The write-ahead log was slow: every write waits for it. */
  | { readonly kind: "slow-fsync"; readonly tookMs: number }
  | { readonly kind: "slow-request"; readonly tookMs: number }
  /** This member leads and its heartbeats are late. */
  | { readonly kind: "slow-heartbeat"; readonly lateMs: number }
  | { readonly kind: "election-started"; readonly term: number }
  | { readonly kind: "leader-elected"; readonly leaderId: string; readonly term: number }
  | { readonly kind: "leader-lost"; readonly term: number }
  | { readonly kind: "member-reachable"; readonly memberId: string }
  | { readonly kind: "member-unreachable"; readonly memberId: string }
  | { readonly kind: "clock-difference"; readonly memberId: string; readonly differenceMs: number }
  /** A peer or client was turned away: by its certificate, mostly. */
  | { readonly kind: "connection-rejected"; readonly from: string; readonly reason: string }
  | { readonly kind: "disk-full" }
  | { readonly kind: "corrupt"; readonly message: string }
  /** The cluster took this member out: it must not start again with its data. */
  | { readonly kind: "removed" }
  | { readonly kind: "foreign-cluster" }
  /** It ends because of this. */
  | { readonly kind: "fatal"; readonly message: string };

type Line = {
  readonly level?: unknown;
  readonly msg?: unknown;
  readonly error?: unknown;
  readonly [field: string]: unknown;
};

/** Undefined for a line that is not JSON, or says nothing of interest. */
export function eventOfLine(text: string): EtcdEvent | undefined {
  if (!text.startsWith("{")) return ofPlainText(text);
  let line: Line;
  try {
    line = JSON.parse(text) as Line;
  } catch {
    return undefined;
  }
  const { level, msg, error } = line;
  if (typeof msg !== "string") return undefined;
  const words = typeof error === "string" ? `${msg}: ${error}` : msg;
  return (
    ofTrouble(words) ??
    ofRaft(msg) ??
    ofLine(msg, line) ??
    (level === "fatal" || level === "panic" ? { kind: "fatal", message: words } : undefined)
  );
}

/** Before its logger stands, and when it panics, it writes plain text. */
function ofPlainText(text: string): EtcdEvent | undefined {
  const trouble = ofTrouble(text);
  if (trouble) return trouble;
  return text.startsWith("panic:") ? { kind: "fatal", message: text } : undefined;
}

function ofTrouble(words: string): EtcdEvent | undefined {
  if (words.includes("no space left on device")) return { kind: "disk-full" };
  if (/permanently removed from the cluster|member has been removed/.test(words))
    return { kind: "removed" };
  if (/cluster ID mismatch/.test(words)) return { kind: "foreign-cluster" };
  if (/crc mismatch|data (corruption|inconsistency)|hash mismatch|alarm:CORRUPT/i.test(words))
    return { kind: "corrupt", message: words };
  return undefined;
}

function ofRaft(msg: string): EtcdEvent | undefined {
  const elected =
    /raft\.node: \w+ (?:elected leader|changed leader from \w+ to) (\w+) at term (\d+)/.exec(msg);
  if (elected)
    return { kind: "leader-elected", leaderId: decimal(elected[1]), term: Number(elected[2]) };
  const lost = /raft\.node: \w+ lost leader \w+ at term (\d+)/.exec(msg);
  if (lost) return { kind: "leader-lost", term: Number(lost[1]) };
  const started = /is starting a new election at term (\d+)/.exec(msg);
  return started ? { kind: "election-started", term: Number(started[1]) } : undefined;
}

function ofLine(msg: string, line: Line): EtcdEvent | undefined {
  const text = (name: string) => (typeof line[name] === "string" ? line[name] : "");
  const memberId = decimal(text("remote-peer-id") || text("peer-id"));
  if (msg === "ready to serve client requests" || msg === "serving client traffic securely")
    return { kind: "ready" };
  if (msg === "slow fdatasync") return { kind: "slow-fsync", tookMs: durationMs(text("took")) };
  if (/^apply(?:ing)? request took too long/.test(msg))
    return { kind: "slow-request", tookMs: durationMs(text("took")) };
  if (msg.startsWith("leader failed to send out heartbeat on time"))
    return { kind: "slow-heartbeat", lateMs: durationMs(text("exceeded-duration")) };
  if (msg === "peer became active") return { kind: "member-reachable", memberId };
  if (msg.startsWith("peer became inactive")) return { kind: "member-unreachable", memberId };
  if (msg === "prober found high clock drift") {
    const differenceMs = Math.abs(durationMs(text("clock-drift")));
    return { kind: "clock-difference", memberId, differenceMs };
  }
  // Whoever only looks whether the port is open ends with EOF.
  if (msg.startsWith("rejected connection") && text("error") !== "EOF")
    return { kind: "connection-rejected", from: text("remote-addr"), reason: text("error") };
  return undefined;
}

/** Ids are told in hexadecimal here, and in decimal everywhere else. */
function decimal(hex: string | undefined): string {
  return hex && /^[0-9a-f]{1,16}$/.test(hex) ? String(BigInt(`0x${hex}`)) : "";
}

const unitMs: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
  ms: 1,
  µs: 0.001,
  us: 0.001,
  ns: 0.000001,
};

/** Go's durations: `1m2.5s`, `350.1ms`. */
export function durationMs(text: string): number {
  let sum = 0;
  for (const [, value, unit] of text.matchAll(/([0-9.]+)(h|ms|µs|us|ns|m|s)/g))
    sum += Number(value) * (unitMs[unit ?? ""] ?? 0);
  return text.startsWith("-") ? -sum : sum;
}
