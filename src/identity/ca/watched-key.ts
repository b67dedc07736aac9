/**
 * A key that somebody else holds, and that may be away: what it signs is looked at before anybody gets
 * it, and how it does is known to who asks, and told in the log when it changes.
 */
import type { MonotonicMs } from "../../lib/brand.ts";
import { every, type Clock, type Timer } from "../../lib/clock.ts";
import { encodeError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { isSignedWith, wrongKey, type SigningKey } from "./signing-key.ts";

/** Since when nothing was signed, and why the last try failed. */
export type KeyFailure = { readonly sinceMs: MonotonicMs; readonly error: unknown };

export interface WatchedKey extends SigningKey {
  /** Undefined while it signs. */
  readonly failure: KeyFailure | undefined;
  /** Lets it sign something that means nothing. Throws as `sign` does. */
  check(): Promise<void>;
}

/** Starts with a word that is none of DER: what is signed here is good for nothing else. */
const nothing = Buffer.from("skerry-check/1\n");

/**
 * `sign` throws what the given one does, and `authority-key-wrong` when the signature is not that of
 * the public key. `name`: the authority's.
 */
export function watchKey(
  deps: { clock: Clock; log: Log },
  options: {
    name: string;
    publicKey: Uint8Array;
    sign: (bytes: Uint8Array) => Promise<Uint8Array>;
  },
): WatchedKey {
  const { clock, log } = deps;
  const { name, publicKey } = options;
  let failure: KeyFailure | undefined;
  const failed = (error: unknown) => {
    if (!failure || encodeError(failure.error).code !== encodeError(error).code)
      log.error("the authority's key does not sign: no cell can enrol or renew", { name, error });
    failure = { sinceMs: failure?.sinceMs ?? clock.monotonicMs(), error };
  };
  const sign = async (bytes: Uint8Array) => {
    try {
      const signature = await options.sign(bytes);
      if (!isSignedWith(publicKey, bytes, signature)) throw wrongKey(name);
      if (failure) log.info("the authority's key signs again", { name });
      failure = undefined;
      return signature;
    } catch (error) {
      failed(error);
      throw error;
    }
  };
  return {
    publicKey,
    get failure() {
      return failure;
    },
    sign,
    async check() {
      await sign(nothing);
    },
  };
}

const checkEveryMs = 300_000;
const checkFailedEveryMs = 30_000;

/** Enrolments are rare: that nothing could be signed should be known before the next one. */
export function keepChecking(deps: { clock: Clock }, key: WatchedKey): Timer {
  return every(
    deps.clock,
    () => (key.failure ? checkFailedEveryMs : checkEveryMs),
    () => key.check(),
    // The key has told it, and knows it.
    () => {},
  );
}
