/**
 * An application that coordinates: registers with compare-and-set, keys created once, locks with
 * fenced writes, and a watch over all of it, through one node's gateway. It writes down what it asks
 * before it asks and what it was told before it goes on, so that also a history cut short by SIGKILL
 * is a true one. Works until standard input ends. Same calling convention as `requests.entry.ts`.
 */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { seededRandom, type Random } from "../../lib/random.ts";
import { hostMonotonicMs, systemClock as clock } from "../../runtime/clock/index.ts";
import {
  createCoordinationHttp,
  type Condition,
  type ReadOutcome,
  type WriteOutcome,
} from "./coordination-http.ts";
import {
  burst,
  type Call,
  type CallOutcome,
  type CoordinationLoadConfig,
  type CoordinationLoadResult,
  type HistoryLine,
} from "./coordination.ts";

const registerLoops = 2;
/** How long a try for a lock may wait in line. */
const lockWaitMs = 1500;
/** A try whose outcome is unknown is repeated this often, so that the lock it may have is used. */
const acquireAttemptsMax = 4;
/** Of holders: goes on writing after its proof has ended, as one that was paused would. */
const stubbornShare = 0.2;

const [configPath = "", resultPath = ""] = process.argv.slice(2);
const config = JSON.parse(readFileSync(configPath, "utf8")) as CoordinationLoadConfig;
const cell = createCoordinationHttp({ ...config, clock });
const stop = new AbortController();
process.stdin.on("end", () => stop.abort());
process.stdin.resume();
const stopped = () => stop.signal.aborted;
let ids = 0;
let values = 0;

const write = (line: HistoryLine) =>
  appendFileSync(config.historyPath, `${JSON.stringify(line)}\n`);
const value = () => `${config.client}.${++values}`;

async function record<Outcome>(
  call: Call,
  ask: () => Promise<Outcome>,
  tell: (outcome: Outcome) => CallOutcome,
): Promise<{ readonly id: number; readonly outcome: Outcome }> {
  const id = ++ids;
  write({ line: "call", id, atMs: hostMonotonicMs(), call });
  const outcome = await ask();
  write({ line: "answer", id, atMs: hostMonotonicMs(), outcome: tell(outcome) });
  return { id, outcome };
}

function toldOfRead(outcome: ReadOutcome): CallOutcome {
  switch (outcome.state) {
    case "found":
      return { state: "done", revision: outcome.revision, value: outcome.value };
    case "absent":
      return { state: "done", value: null };
    case "failed":
      return outcome;
  }
}

function toldOfWrite(
  outcome: WriteOutcome<{ readonly revision?: number; readonly token?: number }>,
): CallOutcome {
  switch (outcome.state) {
    case "done": {
      const { revision, token } = outcome;
      return {
        state: "done",
        ...(revision === undefined ? {} : { revision }),
        ...(token === undefined ? {} : { token }),
      };
    }
    case "refused":
      return { state: "refused", found: outcome.current?.value ?? null };
    case "unknown":
      return { state: "unknown" };
    case "failed":
      return outcome;
  }
}

/** Waits as long as the load's pace asks; longer after what failed, so that nobody spins. */
async function pause(random: Random, outcome?: { readonly state: string }): Promise<void> {
  const factor = outcome?.state === "failed" || outcome?.state === "unknown" ? 4 : 1;
  await clock.sleep(config.pauseMs * factor * (0.5 + random.float()));
}

async function useRegisters(random: Random): Promise<void> {
  while (!stopped()) {
    const key = `r/${random.integer(config.registers)}`;
    const kind = random.integer(4);
    if (kind < 3) {
      const { outcome } = await record({ type: "read", key }, () => cell.read(key), toldOfRead);
      // Every third read is the beginning of a compare-and-set.
      if (kind === 2 && outcome.state !== "failed") await swap(key, outcome);
      await pause(random, outcome);
      continue;
    }
    const fresh = value();
    const call: Call = { type: "write", key, value: fresh };
    const { outcome } = await record(call, () => cell.put(key, fresh), toldOfWrite);
    await pause(random, outcome);
  }
}

/** A revision stands for the value it was read with: each value is written once only. */
async function swap(key: string, read: Exclude<ReadOutcome, { state: "failed" }>): Promise<void> {
  const fresh = value();
  const expected = read.state === "found" ? read.value : null;
  const when: Condition = read.state === "found" ? { revision: read.revision } : { absent: true };
  const call: Call = { type: "cas", key, expected, value: fresh };
  await record(call, () => cell.put(key, fresh, when), toldOfWrite);
}

async function createKeys(): Promise<void> {
  let keys = 0;
  const create = async () => {
    const key = `set/${config.client}/${keys++}`;
    const fresh = value();
    const call: Call = { type: "create", key, value: fresh };
    await record(call, () => cell.put(key, fresh, { absent: true }), toldOfWrite);
  };
  for (let turn = 0; !stopped(); turn++) {
    const atOnce = turn % burst.everyTurns === 0 ? burst.keys : 1;
    await Promise.all(Array.from({ length: atOnce }, create));
    await clock.sleep(config.createEveryMs);
  }
}

/** A session, renewed until it is lost or left; `provedUntilMs` is what its holder may claim. */
type Session = {
  readonly session: string;
  provedUntilMs: number;
  renewing: boolean;
  over: boolean;
};

async function useLocks(random: Random): Promise<void> {
  for (let n = 0; !stopped(); n++) {
    const sentMs = hostMonotonicMs();
    const opened = await cell.openSession(config.sessionTtlMs);
    if (opened.state !== "done") {
      await pause(random, opened);
      continue;
    }
    const provedUntilMs = sentMs + opened.ttlMs;
    const session: Session = {
      session: opened.session,
      provedUntilMs,
      renewing: true,
      over: false,
    };
    const renewed = renew(session);
    for (let uses = 0; uses < 10 && !session.over && session.renewing && !stopped(); uses++)
      await useLock(random, session, `${n}.${uses}`);
    session.over = true;
    await renewed;
  }
}

async function renew(session: Session): Promise<void> {
  while (!session.over) {
    await clock.sleep(config.sessionTtlMs / 4);
    if (!session.renewing || session.over) continue;
    const sentMs = hostMonotonicMs();
    const renewed = await cell.renew(session.session);
    if (renewed.state === "done") session.provedUntilMs = sentMs + renewed.ttlMs;
    if (renewed.state === "failed" && renewed.code === "session-unknown") session.over = true;
  }
}

async function useLock(random: Random, session: Session, name: string): Promise<void> {
  const lock = `l${random.integer(config.locks)}`;
  const id = `${config.client}.${name}`;
  const hold = await record(
    { type: "acquire", lock },
    async () => {
      for (let attempt = 1; ; attempt++) {
        const outcome = await cell.acquire(lock, {
          session: session.session,
          id,
          waitMs: lockWaitMs,
        });
        const repeat = outcome.state === "unknown" || outcome.state === "failed";
        if (!repeat || session.over || stopped() || attempt === acquireAttemptsMax) return outcome;
        await pause(random, outcome);
      }
    },
    toldOfWrite,
  );
  if (hold.outcome.state !== "done") return await pause(random, hold.outcome);
  const { token } = hold.outcome;
  const proof = () => write({ line: "proof", id: hold.id, untilMs: session.provedUntilMs });
  proof();
  const stubborn = random.float() < stubbornShare;
  if (stubborn) session.renewing = false;
  const useMs = stubborn ? config.sessionTtlMs * 2 : random.integer(config.sessionTtlMs);
  const endMs = hostMonotonicMs() + useMs;
  for (let toldMs = session.provedUntilMs; hostMonotonicMs() < endMs && !stopped();) {
    const mayClaim = !session.over && hostMonotonicMs() < session.provedUntilMs;
    if (!mayClaim && !stubborn) break;
    if (session.provedUntilMs !== toldMs) proof();
    toldMs = session.provedUntilMs;
    const [key, fresh] = [`guarded/${lock}`, value()];
    const { outcome } = await record(
      { type: "guarded", lock, token, key, value: fresh },
      () => cell.put(key, fresh, { lock, token }),
      toldOfWrite,
    );
    if (outcome.state === "refused") break;
    await pause(random, outcome);
  }
  write({ line: "let-go", id: hold.id, atMs: hostMonotonicMs() });
  if (!stubborn) await cell.release(lock, token);
}

async function watchAll(random: Random): Promise<void> {
  let lastEventId: string | undefined;
  while (!stopped()) {
    try {
      let after = 0;
      if (lastEventId === undefined) {
        after = (await cell.list("none/")).revision;
        write({ line: "watch", after });
      }
      const from = lastEventId === undefined ? { after } : { lastEventId };
      for await (const line of cell.watch(from, stop.signal)) {
        if (line.type === "compacted") {
          lastEventId = undefined;
          break;
        }
        const events = line.type === "change" ? line.events : [];
        write({
          line: "seen",
          revision: line.revision,
          events: events.map((event) => ({ key: event.key, value: event.value ?? null })),
        });
        lastEventId = line.id;
      }
    } catch {
      // Whatever ended it: the next one goes on where this one was.
    }
    await pause(random);
  }
}

writeFileSync(config.historyPath, "", { flag: "a" });
const random = (loop: number) => seededRandom(config.seed * 1_000_003 + config.client * 101 + loop);
await Promise.all([
  ...Array.from({ length: registerLoops }, (_, loop) => useRegisters(random(loop))),
  createKeys(),
  useLocks(random(50)),
  watchAll(random(51)),
]);
await cell.close();
writeFileSync(resultPath, JSON.stringify({ operations: ids } satisfies CoordinationLoadResult));
process.exit(0);
