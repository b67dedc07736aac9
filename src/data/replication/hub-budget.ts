/**
 * What may be sent to the hub: bytes a second and a day, for all together and by stream, counted as
 * they are sent, compressed, resends too; a day may end one entry above its limit, no more. Seconds are
 * those of the monotonic clock. No batch is larger than what a second allows, or an entry, so that nothing
 * waits long behind one; what is urgent waits for what is urgent only, and takes its bytes from the others':
 * all together are at the rate but for the bytes of a second. A day ends at
 * midnight UTC by the wall clock, as it stood when the day began: a clock that steps afterwards does
 * not end it sooner, and none is shorter than 23 hours. The account of the day is written ahead, so that
 * a crash forgets nothing of it; who is started again may have a little less than was declared.
 */
import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";

/** Absent: without end. */
export type Limits = { readonly bytesPerSecond?: number; readonly bytesPerDay?: number };

export type HubBudgetStatus = {
  /** Since the day began. */
  readonly sentToday: number;
  /** What is left of the day; absent: no limit. */
  readonly leftToday?: number;
  /** Of streams with a budget of their own. */
  readonly streams: readonly {
    readonly name: string;
    readonly sentToday: number;
    readonly leftToday?: number;
  }[];
  /** Something waits for the next day, which begins in so long. */
  readonly usedUpForMs?: number;
};

/** Where the account of a day is kept; text of this file's making. */
export interface AccountKeeper {
  read(): Promise<string | undefined>;
  write(account: string): Promise<void>;
}

/** `isUrgent`: its priority is above 0. */
export type Spender = { readonly stream: string | undefined; readonly isUrgent: boolean };

export interface HubBudget {
  /** Reads what was sent on this day before. */
  open(): Promise<void>;
  /** Of streams with limits of their own. */
  declare(limitsByStream: ReadonlyMap<string, Limits>): void;
  /** How much may be sent now, of which no more than a second's bytes at once; 0: wait. */
  room(of: Spender): number;
  /** Call before it is sent; resolves when that is on the disk, or could not be put there. */
  spend(of: Spender, bytes: number): Promise<void>;
  status(): HubBudgetStatus;
}

const dayMs = 86_400_000;
const shortestDayMs = 23 * 3_600_000;
/** Of the day, left to streams with a priority above 0. */
const urgentShare = 0.1;
/** Less than this is not worth a batch. */
const roomBytesMin = 2048;
/** Of a second, however slow: smaller batches pack worse than they wait. */
const secondBytesMin = 4096;
/** Written ahead: a part of the day's bytes. */
const aheadShare = 1 / 256;
const aheadBytesMin = 16 * 1024;

type Account = {
  /** When the day ends, by the wall clock. */
  readonly endsMs: number;
  readonly all: number;
  readonly streams: Readonly<Record<string, number>>;
};

type Meter = { today: number; written: number; tokens: number; filledMs: number };

export function createHubBudget(
  deps: { clock: Clock; log: Log; keeper: AccountKeeper },
  limits: Limits,
): HubBudget {
  const { clock, log, keeper } = deps;
  let limitsByStream: ReadonlyMap<string, Limits> = new Map();
  const meterOf = (bytesPerSecond = 0): Meter => ({
    today: 0,
    written: 0,
    tokens: bytesPerSecond,
    filledMs: clock.monotonicMs(),
  });
  const all = meterOf(limits.bytesPerSecond);
  /** Seconds of what is urgent: it waits for nothing else, and the rest makes up for it. */
  const urgent = meterOf(limits.bytesPerSecond);
  const meters = new Map<string, Meter>();
  const meterOfStream = (stream: string): Meter => {
    const known = meters.get(stream) ?? meterOf(limitsByStream.get(stream)?.bytesPerSecond);
    meters.set(stream, known);
    return known;
  };
  /** On the monotonic clock. */
  let endsAtMs = 0;
  let waits = false;

  const toMidnight = () => dayMs - (((clock.wallMs() % dayMs) + dayMs) % dayMs);
  const begin = (leftMs: number) => {
    endsAtMs = clock.monotonicMs() + leftMs;
  };
  const rollOver = () => {
    if (clock.monotonicMs() < endsAtMs) return;
    for (const meter of [all, ...meters.values()]) [meter.today, meter.written] = [0, 0];
    const left = toMidnight();
    begin(left < shortestDayMs ? left + dayMs : left);
    waits = false;
  };

  const fill = (meter: Meter, bytesPerSecond: number): number => {
    const nowMs = clock.monotonicMs();
    const filled = meter.tokens + ((nowMs - meter.filledMs) / 1000) * bytesPerSecond;
    meter.tokens = Math.min(bytesPerSecond, filled);
    meter.filledMs = nowMs;
    return meter.tokens;
  };
  const leftToday = (meter: Meter, { bytesPerDay }: Limits) =>
    bytesPerDay === undefined ? Infinity : Math.max(0, bytesPerDay - meter.today);
  const hasSeconds = (meter: Meter, { bytesPerSecond }: Limits) =>
    bytesPerSecond === undefined || fill(meter, bytesPerSecond) > 0;
  const inOneGo = ({ bytesPerSecond = Infinity }: Limits) =>
    Math.max(secondBytesMin, bytesPerSecond);
  const ahead = ({ bytesPerDay }: Limits) =>
    Math.max(aheadBytesMin, Math.floor((bytesPerDay ?? 0) * aheadShare));

  const write = async () => {
    const account: Account = {
      endsMs: clock.wallMs() + Math.max(0, endsAtMs - clock.monotonicMs()),
      all: all.written,
      streams: Object.fromEntries([...meters].map(([name, { written }]) => [name, written])),
    };
    try {
      await keeper.write(JSON.stringify(account));
    } catch (error) {
      // On a full disk what was sent is still counted, until the next start.
      log.warn("what was sent to the hub today could not be noted", { error });
    }
  };

  return {
    async open() {
      const text = await keeper.read();
      begin(toMidnight());
      const account = text === undefined ? undefined : (JSON.parse(text) as Account);
      // A clock that was set back: at most a day is left of what was a day.
      const leftMs = Math.min(dayMs, (account?.endsMs ?? 0) - clock.wallMs());
      if (!account || leftMs <= 0) return;
      begin(leftMs);
      [all.today, all.written] = [account.all, account.all];
      for (const [name, bytes] of Object.entries(account.streams)) {
        const meter = meterOfStream(name);
        [meter.today, meter.written] = [bytes, bytes];
      }
    },
    declare(now) {
      limitsByStream = now;
      waits = false;
      for (const name of meters.keys()) if (!now.has(name)) meters.delete(name);
    },
    room({ stream, isUrgent }) {
      rollOver();
      const own = stream === undefined ? undefined : limitsByStream.get(stream);
      const reserve = isUrgent ? 0 : Math.ceil((limits.bytesPerDay ?? 0) * urgentShare);
      const left = Math.min(
        Math.max(0, leftToday(all, limits) - reserve),
        own && stream !== undefined ? leftToday(meterOfStream(stream), own) : Infinity,
      );
      if (left < roomBytesMin) waits = true;
      const inTime =
        hasSeconds(isUrgent ? urgent : all, limits) &&
        (!own || stream === undefined || hasSeconds(meterOfStream(stream), own));
      return inTime && left >= roomBytesMin
        ? Math.min(left, inOneGo(limits), inOneGo(own ?? {}))
        : 0;
    },
    async spend({ stream, isUrgent }, bytes) {
      rollOver();
      const own = stream === undefined ? undefined : limitsByStream.get(stream);
      let isDue = false;
      const count = (meter: Meter, of: Limits) => {
        meter.today += bytes;
        meter.tokens -= bytes;
        if (of.bytesPerDay === undefined || meter.today <= meter.written) return;
        meter.written = meter.today + ahead(of);
        isDue = true;
      };
      count(all, limits);
      if (isUrgent) urgent.tokens -= bytes;
      if (own && stream !== undefined) count(meterOfStream(stream), own);
      if (isDue) await write();
    },
    status() {
      rollOver();
      const line = (meter: Meter, of: Limits) => ({
        sentToday: meter.today,
        ...(of.bytesPerDay === undefined ? {} : { leftToday: leftToday(meter, of) }),
      });
      return {
        ...line(all, limits),
        streams: [...limitsByStream].map(([name, own]) => ({
          name,
          ...line(meterOfStream(name), own),
        })),
        ...(waits ? { usedUpForMs: Math.max(0, endsAtMs - clock.monotonicMs()) } : {}),
      };
    },
  };
}
