/**
 * What was refused and why, for a person to look at and, once its reason is gone, to take after all:
 * the latest refusals, bounded by number and bytes, and counters that never forget. Nothing recorded
 * here was acknowledged to its sender, so it is written down behind everything else, once a second.
 */
import type { Clock, Timer } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import { extraBytes, type Again } from "./again.ts";
import type { DeadLetterStore, SavedLetter } from "./dead-letters-state/index.ts";
import { createRetries, type Retry, type RetryAnswer } from "./retries.ts";

export type DeadLetter = {
  /** Counted on over restarts. */
  readonly id: number;
  readonly atMs: number;
  readonly source: "mqtt" | "http" | "host";
  /** A SkerryError code. */
  readonly code: string;
  readonly message: string;
  readonly sender?: string;
  readonly topic?: string;
  readonly stream?: string;
  readonly bytes: number;
  /** Whether it is still whole, and could be taken as it is. */
  readonly retryable: boolean;
  /** The beginning of what was sent, as text; undecodable bytes show as U+FFFD. */
  readonly excerpt: string;
};

export type Refusal = Omit<DeadLetter, "id" | "atMs" | "bytes" | "retryable" | "excerpt"> & {
  readonly payload: Uint8Array;
  /** What its sender asked for, beside the payload; absent where nothing can be tried again. */
  readonly again?: Again;
};

export interface DeadLetters {
  record(refusal: Refusal): void;
  /** Each way in says how what it refused is tried again. */
  retryBy<By extends Again["by"]>(by: By, retry: Retry<By>): void;
  /** The latest first. */
  list(): readonly DeadLetter[];
  /**
   * Oldest first, of those that `matches`; what is stored then is no dead letter any more. Throws
   * `retry-under-way`.
   */
  retry(matches: (letter: DeadLetter) => boolean): Promise<RetryAnswer>;
  /** Refusals since the start of the agent, by code. */
  readonly countByCode: ReadonlyMap<string, number>;
  /** Writes down what is not yet. */
  close(): Promise<void>;
}

const excerptBytesMax = 1024;
/** What a retry would need of one, and of all of them; beyond it the oldest keep their excerpt only. */
const keptBytesMax = 256 * 1024;
const keptBytesTotalMax = 4 * 1024 * 1024;
/** Between two times that something is written down. */
const savePeriodMs = 1000;

type Kept = DeadLetter & { readonly again?: Again; readonly payload?: Uint8Array };

type Deps = {
  readonly clock: Clock;
  /** Absent: a restart forgets them. */
  readonly saved?: { readonly store: DeadLetterStore; readonly log: Log };
};

/** With what was refused before this start; without it, and a warning, where that cannot be read. */
export async function openDeadLetters(
  deps: Required<Deps>,
  options: { lettersMax?: number } = {},
): Promise<DeadLetters> {
  const { store, log } = deps.saved;
  try {
    return createDeadLetters(deps, { ...options, begun: (await store.load()).map(keptOf) });
  } catch (error) {
    log.warn("what was refused before this start cannot be read", { error });
    return createDeadLetters(deps, options);
  }
}

export function createDeadLetters(
  { clock, saved }: Deps,
  options: { lettersMax?: number; begun?: readonly Kept[] } = {},
): DeadLetters {
  const lettersMax = options.lettersMax ?? 1000;
  /** Oldest first. */
  const letters = new Map<number, Kept>();
  const countByCode = new Map<string, number>();
  const retries = createRetries({ clock });
  let lastId = 0;
  let keptBytes = 0;

  /** Of which what is written down is not what is here. */
  const unsaved = new Set<number>();
  let saving: Promise<void> | undefined;
  let nextSave: Timer | undefined;
  let savedMs = -Infinity;
  let isWarned = false;

  const save = async ({ store, log }: Required<Deps>["saved"]) => {
    nextSave = undefined;
    savedMs = clock.monotonicMs();
    const ids = [...unsaved];
    unsaved.clear();
    const put = ids.flatMap((id) => letters.get(id) ?? []).map(savedOf);
    try {
      await store.apply({ put, gone: ids.filter((id) => !letters.has(id)) });
      isWarned = false;
    } catch (error) {
      for (const id of ids) unsaved.add(id);
      if (!isWarned) log.warn("what was refused is kept in memory only", { error });
      isWarned = true;
    }
    savedMs = clock.monotonicMs();
  };
  const saveSoon = () => {
    if (!saved || saving || nextSave || unsaved.size === 0) return;
    const waitMs = Math.max(0, savedMs + savePeriodMs - clock.monotonicMs());
    nextSave = clock.after(waitMs, () => {
      saving = save(saved).finally(() => {
        saving = undefined;
        saveSoon();
      });
    });
  };
  const changed = ({ id, source }: Kept) => {
    if (source === "host") return;
    unsaved.add(id);
    saveSoon();
  };

  const bytesOf = ({ retryable, bytes, again }: Kept) =>
    retryable ? bytes + (again ? extraBytes(again) : 0) : 0;
  const put = (letter: Kept) => {
    const before = letters.get(letter.id);
    keptBytes += bytesOf(letter) - (before ? bytesOf(before) : 0);
    letters.set(letter.id, letter);
  };
  const drop = (letter: Kept) => {
    keptBytes -= bytesOf(letter);
    letters.delete(letter.id);
    changed(letter);
  };
  const bound = () => {
    for (const letter of letters.values()) {
      if (letters.size <= lettersMax) break;
      drop(letter);
    }
    for (const letter of letters.values()) {
      if (keptBytes <= keptBytesTotalMax) break;
      if (!letter.retryable) continue;
      put({ ...shown(letter), retryable: false });
      changed(letter);
    }
  };
  /**
   * Readings that no stream takes come each second, of every node that declares none, and a client
   * that is not let in comes again: what says the same is one letter.
   */
  const sameOf = ({ source, sender, code, stream }: Omit<Refusal, "payload">) =>
    letters
      .values()
      .find(
        (each) =>
          isOfMany(each) &&
          each.source === source &&
          each.sender === sender &&
          each.code === code &&
          each.stream === stream,
      );

  for (const letter of options.begun ?? []) {
    put(letter);
    lastId = Math.max(lastId, letter.id);
  }
  bound();

  return {
    record({ payload, again, ...refusal }) {
      countByCode.set(refusal.code, (countByCode.get(refusal.code) ?? 0) + 1);
      const excerpt = new TextDecoder().decode(payload.subarray(0, excerptBytesMax));
      const bytes = payload.length;
      const retryable =
        again !== undefined &&
        !isOfContent(refusal.code) &&
        bytes + extraBytes(again) <= keptBytesMax;
      const same = isOfMany({ ...refusal, bytes }) ? sameOf(refusal) : undefined;
      if (same) drop(same);
      const id = same && refusal.source === "host" ? same.id : ++lastId;
      const letter: Kept = {
        ...refusal,
        ...(retryable ? { again, payload } : {}),
        ...{ id, atMs: clock.wallMs(), bytes, retryable, excerpt },
      };
      put(letter);
      changed(letter);
      bound();
    },
    retryBy: (by, retry) => retries.by(by, retry),
    list: () => [...letters.values()].map(shown).reverse(),
    retry: (matches) =>
      retries.run(
        [...letters.values()].filter((each) => matches(shown(each))),
        ({ id }, outcome) => {
          // Others may have pushed it out meanwhile.
          const now = letters.get(id);
          if (!now) return;
          if (outcome.state === "stored") return drop(now);
          put({ ...now, code: outcome.code, message: outcome.message });
          changed(now);
        },
      ),
    countByCode,
    async close() {
      nextSave?.cancel();
      await saving;
      nextSave?.cancel();
      if (saved && unsaved.size > 0) await save(saved);
    },
  };
}

const shown = ({ again: _again, payload: _payload, ...letter }: Kept): DeadLetter => letter;

const savedOf = ({ payload, ...letter }: Kept): SavedLetter => ({
  id: letter.id,
  json: JSON.stringify(letter),
  // A copy: a view would take the buffer that it is of along to the other thread.
  ...(payload ? { payload: Uint8Array.from(payload) } : {}),
});

const keptOf = ({ json, payload }: SavedLetter): Kept => ({
  ...(JSON.parse(json) as Omit<Kept, "payload">),
  ...(payload ? { payload } : {}),
});

/** A reading of the host, or a connection: that holds nothing, and was on its way to nowhere. */
const isOfMany = ({ source, bytes, topic, stream }: Omit<Refusal, "payload"> & { bytes: number }) =>
  source === "host" || (bytes === 0 && topic === undefined && stream === undefined);

/** Refused for what it is: the same is refused again. */
const isOfContent = (code: string) => code.startsWith("invalid-") || code.endsWith("-too-large");
