/**
 * Links in virtual time: each message takes its own while, so that order is not kept; a share of them
 * is lost, answered into the void, or delivered twice. Worse than `transport`, on purpose.
 */
import { deadline, type Clock } from "../../../lib/clock.ts";
import { decodeError, encodeError, SkerryError } from "../../../lib/errors.ts";
import type { Random } from "../../../lib/random.ts";
import type { Handler, Link, Peer, Router } from "../../../transport/index.ts";

export type Faults = { lost: number; unanswered: number; doubled: number; delayMsMax: number };
export const noFaults: Faults = { lost: 0, unanswered: 0, doubled: 0, delayMsMax: 2 };

export type VirtualRouter = Router & { readonly handlers: ReadonlyMap<string, Handler> };

export function virtualRouter(): VirtualRouter {
  const handlers = new Map<string, Handler>();
  return { handlers, handle: (method, handler) => void handlers.set(method, handler) };
}

export const peerOf = (trustDomain: string, ...path: string[]): Peer => ({
  id: `spiffe://${trustDomain}/${path.join("/")}` as Peer["id"],
  trustDomain,
  path,
});

export type End = { readonly peer: Peer; readonly router: VirtualRouter };

/** Both sides of one connection; `cut` takes it away from both. */
export function virtualLink(
  deps: { clock: Clock; random: Random; faults: () => Faults },
  ends: { left: End; right: End },
): { left: Link; right: Link; cut(): void } {
  const controller = new AbortController();
  const lost = () =>
    new SkerryError({ code: "link-lost", message: "the link was cut", retryable: true });
  const side = (here: End, there: End, back: () => Link): Link => ({
    peer: there.peer,
    closed: controller.signal,
    roundTripMs: undefined,
    get heardMs() {
      return deps.clock.monotonicMs();
    },
    close: () => controller.abort(lost()),
    open() {
      throw new Error("not used by data");
    },
    request(method, body, options = {}) {
      const { clock, random } = deps;
      const faults = deps.faults();
      const limit = deadline(clock, options.timeoutMs ?? 10_000, {
        parent: options.signal,
        reason: () => new SkerryError({ code: "link-timeout", message: `${method} took too long` }),
      });
      const bytes = new Uint8Array(body);
      return new Promise<Uint8Array>((resolve, reject) => {
        const fail = () => reject(limit.signal.reason);
        limit.signal.addEventListener("abort", fail, { once: true });
        const end = () => reject(lost());
        controller.signal.addEventListener("abort", end, { once: true });
        if (controller.signal.aborted) return end();
        const delay = () => 1 + random.float() * faults.delayMsMax;
        const deliver = () =>
          clock.after(delay(), () => {
            if (controller.signal.aborted) return;
            const handler = there.router.handlers.get(method);
            const incoming = { peer: here.peer, link: back(), body: bytes, signal: limit.signal };
            Promise.try(() => {
              // As a peer of an earlier version answers.
              if (!handler) throw new SkerryError({ code: "unknown-method", message: method });
              return handler(incoming) as Promise<Uint8Array>;
            }).then(
              (answer) => {
                if (random.float() < faults.unanswered) return;
                clock.after(delay(), () => resolve(new Uint8Array(answer)));
              },
              (error) => clock.after(delay(), () => reject(decodeError(encodeError(error)))),
            );
          });
        if (random.float() >= faults.lost) deliver();
        if (random.float() < faults.doubled) deliver();
      }).finally(() => limit.done());
    },
  });
  const left: Link = side(ends.left, ends.right, () => right);
  const right: Link = side(ends.right, ends.left, () => left);
  return { left, right, cut: () => controller.abort(lost()) };
}
