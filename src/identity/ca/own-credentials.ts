/**
 * The leaves of whoever holds an authority and needs no enrolment to get them: the hub. Made anew at
 * each start and at half of their life; nothing of them is kept on disk.
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { createRequest, generateKeyPem } from "../certificates/keys.ts";
import type { Credentials } from "../credentials.ts";
import type { Subject } from "../spiffe.ts";
import { leafLifetimeMs, type Authority, type ServingNames } from "./authority.ts";

export interface OwnCredentials {
  readonly identity: Credentials;
  readonly serving: Credentials;
  onChange(listener: () => void): () => void;
  stop(): void;
}

export async function keepOwnCredentials(
  deps: { clock: Clock; log: Log; authority: Authority },
  options: { subject: Subject; names: ServingNames; renewEveryMs?: number },
): Promise<OwnCredentials> {
  const { authority, clock, log } = deps;
  const listeners = new Set<() => void>();
  const issue = async () => {
    const keyPem = generateKeyPem();
    return {
      identity: await authority.issueCredentials(options.subject),
      serving: {
        keyPem,
        chainPem: await authority.issueServing(await createRequest(keyPem), options.names),
      },
    };
  };
  let current = await issue();
  let timer: Timer | undefined;
  let isStopped = false;
  const arm = () => {
    if (!isStopped)
      timer = clock.after(options.renewEveryMs ?? leafLifetimeMs / 2, () => void renew());
  };
  const renew = async () => {
    try {
      current = await issue();
      for (const listener of listeners) listener();
    } catch (error) {
      log.error("own certificates cannot be renewed", { id: options.subject.id, error });
    }
    arm();
  };
  arm();
  return {
    get identity() {
      return current.identity;
    },
    get serving() {
      return current.serving;
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
