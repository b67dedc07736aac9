/** Server-sent events (WHATWG HTML, section 9.2) that are taken up again wherever they broke off. */
import { createBackoff } from "../../lib/backoff.ts";
import { SkerryError } from "../../lib/errors.ts";
import { refusalOf } from "../refusal.ts";
import type { Gateway } from "./gateway.ts";

export type ServerEvent = { readonly event: string; readonly data: unknown };

/** The gateway says something at least every 10 s. */
const silenceMs = 30_000;

/**
 * Events of `path` until `signal` aborts, over any number of connections. Throws what the server
 * refuses for good.
 */
export async function* serverEvents(
  gateway: Gateway,
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ServerEvent> {
  const { clock } = gateway;
  const backoff = createBackoff(gateway, { initialMs: 50, maxMs: 5000 });
  let lastEventId: string | undefined;
  for (;;) {
    if (signal?.aborted) return;
    const attempt = new AbortController();
    const onAbort = () => attempt.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const silent = () => attempt.abort(new DOMException("nothing was heard", "TimeoutError"));
    let timer = clock.after(silenceMs, silent);
    try {
      const answer = await gateway.send(path, {
        signal: attempt.signal,
        ...(lastEventId === undefined ? {} : { headers: { "last-event-id": lastEventId } }),
      });
      if (answer.status !== 200) throw refusalOf(answer.status, await answer.text());
      let rest = "";
      const decoder = new TextDecoder();
      for await (const chunk of answer.body ?? []) {
        timer.cancel();
        timer = clock.after(silenceMs, silent);
        const blocks = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
        rest = blocks.pop() ?? "";
        for (const block of blocks) {
          const { id, event, data } = fieldsOf(block);
          if (event === undefined) continue;
          if (event === "ended") throw refusalOf(503, data ?? "");
          yield { event, data: JSON.parse(data ?? "null") };
          // Only now has it been taken.
          lastEventId = id ?? lastEventId;
          backoff.reset();
          if (signal?.aborted) return;
        }
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (error instanceof SkerryError && !error.retryable) throw error;
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
      attempt.abort();
    }
    await clock.sleep(backoff.nextMs(), { ...(signal ? { signal } : {}) }).catch(() => undefined);
  }
}

function fieldsOf(block: string): { id?: string; event?: string; data?: string } {
  return Object.fromEntries(
    block.split("\n").flatMap((line) => {
      const [, name, value] = /^(\w+): (.*)$/.exec(line) ?? [];
      return name === undefined ? [] : [[name, value]];
    }),
  );
}
