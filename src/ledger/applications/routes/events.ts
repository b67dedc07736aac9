/** Streams as server-sent events (WHATWG HTML, section 9.2), with comments that keep them alive. */
import type { Clock } from "../../../lib/clock.ts";
import { orSilence } from "../../../lib/silence.ts";
import type { StreamItem } from "../coordination.ts";
import { errorAnswer } from "./answers.ts";

/** Clients that hear nothing for three times as long connect anew. */
const keepAliveMs = 10_000;

/** `holderName`: what the holder is called, `leader` in elections. */
export async function* serverSentEvents(
  clock: Clock,
  first: IteratorResult<StreamItem>,
  items: AsyncIterator<StreamItem>,
  holderName: "holder" | "leader",
): AsyncGenerator<string> {
  try {
    let next = Promise.resolve(first);
    for (;;) {
      const result = await orSilence(clock, next, keepAliveMs);
      if (result === "silence") {
        yield ":\n\n";
        continue;
      }
      if (result.done) return;
      yield eventOf(result.value, holderName);
      next = items.next();
    }
  } catch (error) {
    // The status is sent already: the reason is the last that the client hears.
    yield `event: ended\ndata: ${JSON.stringify(errorAnswer(error).body)}\n\n`;
  } finally {
    await items.return?.();
  }
}

function eventOf(item: StreamItem, holderName: "holder" | "leader"): string {
  const { revision, epoch } = item;
  const text = (event: string, data: unknown) =>
    `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  const id = `id: ${epoch}:${revision}\n`;
  switch (item.event) {
    case "change":
      return id + text("change", { revision, events: item.events });
    case "bookmark":
      return id + text("bookmark", { revision });
    case "compacted":
      return text("compacted", { revision, epoch });
    case "holder":
      return id + text(holderName, { revision, [holderName]: item.holder });
  }
}
