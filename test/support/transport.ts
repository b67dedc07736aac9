/** A cell of identities, and links between them over real TLS on loopback. */
import type { Credentials, Trust } from "../../src/identity/index.ts";
import * as identity from "../../src/identity/index.ts";
import type { Log } from "../../src/lib/log.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemClock, systemRandom } from "../../src/runtime/clock/index.ts";
import {
  createRouter,
  dial,
  listen,
  type DialledLink,
  type DialOptions,
  type HandlerRouter,
  type Listener,
  type ListenOptions,
} from "../../src/transport/index.ts";
import { temporaryAuthority } from "./identity.ts";

export type TestCell = {
  readonly authority: identity.FolderAuthority;
  readonly trust: Trust;
  /** Credentials of `spiffe://DOMAIN/PATH`. */
  credentials(...path: string[]): Promise<Credentials>;
};

export async function testCell(name = "cell-a"): Promise<TestCell> {
  const authority = await temporaryAuthority(identity.trustDomainOf(name));
  return {
    authority,
    trust: authority.trust,
    credentials: (...path) =>
      authority.issueCredentials(identity.spiffeId(authority.trustDomain, ...path)),
  };
}

export const testDeps = {
  clock: systemClock,
  random: systemRandom,
  log: silentLog,
  nowMs: () => Date.now(),
};

/**
 * Timers run, but nothing that is measured grows older: what a machine that stands still for a second
 * would refill stays empty.
 */
export const frozenClock = (() => {
  const nowMs = systemClock.monotonicMs();
  return { ...systemClock, monotonicMs: () => nowMs };
})();

/** A log that keeps what was said. */
export function collectingLog(): Log & { readonly lines: { message: string; fields: object }[] } {
  const lines: { message: string; fields: object }[] = [];
  const add = (message: string, fields: object = {}) => void lines.push({ message, fields });
  const log: Log = { debug: add, info: add, warn: add, error: add, child: () => log };
  return { ...log, lines };
}

/** Short enough for tests; detection of the dead stays well above a scheduler's pause. */
export const testLimits = { pingMs: 100, deadMs: 1500 };

export type TestPair = AsyncDisposable & {
  readonly listener: Listener;
  readonly dialled: DialledLink;
  /** Handlers of the accepting side and of the dialling side. */
  readonly acceptor: HandlerRouter;
  readonly dialler: HandlerRouter;
};

/** Listens as `own` on a free port of loopback. */
export const testListener = (
  { trust }: Pick<TestCell, "trust">,
  own: Credentials,
  options: Partial<ListenOptions> = {},
  deps: Partial<typeof testDeps> = {},
): Promise<Listener> =>
  listen(
    { ...testDeps, ...deps },
    {
      host: "127.0.0.1",
      port: 0,
      credentials: () => own,
      trusts: () => [trust],
      router: createRouter(),
      limits: testLimits,
      ...options,
    },
  );

/** n1 listens, n2 has dialled it and its link is up. */
export async function testPair(
  cell: TestCell,
  options: { listen?: Partial<ListenOptions>; dial?: Partial<DialOptions> } = {},
): Promise<TestPair> {
  const [n1, n2] = [await cell.credentials("node", "n1"), await cell.credentials("node", "n2")];
  const [acceptor, dialler] = [createRouter(), createRouter()];
  const listener = await testListener(cell, n1, { router: acceptor, ...options.listen });
  const dialled = dial(testDeps, {
    address: listener,
    expect: cell.trust.trustDomain,
    credentials: () => n2,
    trusts: () => [cell.trust],
    router: dialler,
    limits: testLimits,
    backoff: { initialMs: 20, maxMs: 100 },
    ...options.dial,
  });
  await dialled.wait({ signal: AbortSignal.timeout(30_000) });
  return {
    listener,
    dialled,
    acceptor,
    dialler,
    async [Symbol.asyncDispose]() {
      await dialled.close();
      await listener.close();
    },
  };
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
