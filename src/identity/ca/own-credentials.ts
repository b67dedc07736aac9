/**
 * The leaves of whoever holds an authority and needs no enrolment to get them: the hub. Renewed at half
 * of their life, and again soon where that failed. Where the authority's key may be away they are kept
 * on disk, so that a start needs the key only when they ran out or are for other names; else they are
 * made anew at each start, and nothing of them is kept.
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import { encodeError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { createRequest, generateKeyPem } from "../certificates/keys.ts";
import { leafLifetimeMs, type Authority } from "./authority.ts";
import {
  keepLeaves,
  leavesUntil,
  readKeptLeaves,
  type Leaves,
  type LeavesFor,
} from "./kept-leaves.ts";

export interface OwnCredentials extends Leaves {
  onChange(listener: () => void): () => void;
  stop(): void;
}

/** Without leaves nothing runs yet; with them there is half of their life left. */
const firstRetryMs = 15_000;
const renewRetryMs = 600_000;
/** Also where a clock that jumped makes new leaves look old. */
const renewAfterMs = 60_000;

/**
 * Resolves when there are leaves: with `keptPath` it waits for the authority's key as long as that
 * takes, or until the signal aborts. Throws `authority-key-wrong`, and without `keptPath` whatever
 * issuing throws.
 */
export async function keepOwnCredentials(
  deps: { clock: Clock; log: Log; authority: Authority },
  options: LeavesFor & { keptPath?: string; signal: AbortSignal },
): Promise<OwnCredentials> {
  const { authority, clock, log } = deps;
  const { subject, administrator, names, keptPath, signal } = options;
  const { trust } = authority;
  const wanted = { trust, subject, administrator, names };
  const listeners = new Set<() => void>();
  const issue = async (): Promise<Leaves> => {
    const keyPem = generateKeyPem();
    const leaves = {
      identity: await authority.issueCredentials(subject),
      serving: {
        keyPem,
        chainPem: await authority.issueServing(await createRequest(keyPem), names),
      },
      administrator: await authority.issueCredentials(administrator),
    };
    if (keptPath !== undefined) keepLeaves({ log }, keptPath, leaves);
    return leaves;
  };
  const issueFirst = async (): Promise<Leaves> => {
    for (;;) {
      try {
        return await issue();
      } catch (error) {
        if (keptPath === undefined || encodeError(error).code === "authority-key-wrong")
          throw error;
        log.error("no start without own certificates: waiting for the authority's key", { error });
        await clock.sleep(firstRetryMs, { signal });
      }
    }
  };
  const kept =
    keptPath === undefined
      ? undefined
      : readKeptLeaves({ log, nowMs: clock.wallMs() }, keptPath, wanted);
  let current = kept ?? (await issueFirst());
  let timer: Timer | undefined;
  let isStopped = false;
  const arm = (delayMs: number) => {
    if (!isStopped) timer = clock.after(delayMs, () => void renew());
  };
  const untilHalfMs = () => {
    const nowMs = clock.wallMs();
    const leftMs = (leavesUntil(current, wanted, nowMs) ?? nowMs) - nowMs;
    return Math.min(Math.max(leftMs - leafLifetimeMs / 2, renewAfterMs), leafLifetimeMs / 2);
  };
  const renew = async () => {
    try {
      current = await issue();
      for (const listener of listeners) listener();
      arm(untilHalfMs());
    } catch (error) {
      log.error("own certificates cannot be renewed", { id: subject.id, error });
      arm(renewRetryMs);
    }
  };
  arm(untilHalfMs());
  return {
    get identity() {
      return current.identity;
    },
    get serving() {
      return current.serving;
    },
    get administrator() {
      return current.administrator;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    stop() {
      isStopped = true;
      timer?.cancel();
    },
  };
}
