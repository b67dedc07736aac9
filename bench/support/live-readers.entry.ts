/** Readers of live queries in a thread of their own, as applications are in processes of theirs. */
import { serveThread } from "../../src/runtime/thread/index.ts";

export type ReadersData = { readonly url: string; readonly queries: readonly object[] };
/** `arrived`: by the number in a document, when the first difference that shows it was there. */
export type ReadersMethods = {
  /** Resolves when all have their first result. */
  read(given: ReadersData): Promise<void>;
  seen(): {
    readonly differences: number;
    readonly arrived: readonly (readonly [number, number])[];
  };
};

const arrived = new Map<number, number>();
let differences = 0;

const follow = async (url: string, query: object): Promise<void> => {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...query, live: true }),
  });
  if (!answer.ok || !answer.body) throw new Error(await answer.text());
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const event = async (): Promise<string | undefined> => {
    for (let end = text.indexOf("\n\n"); end < 0; end = text.indexOf("\n\n")) {
      const { value, done } = await reader.read();
      if (done) return undefined;
      text += value;
    }
    const end = text.indexOf("\n\n");
    const block = text.slice(0, end);
    text = text.slice(end + 2);
    return block;
  };
  let text = "";
  await event();
  void (async () => {
    for (let block = await event(); block !== undefined; block = await event()) {
      const now = performance.timeOrigin + performance.now();
      if (!block.includes("event: changes")) continue;
      differences++;
      for (const [, n] of block.matchAll(/"n":(\d+)/g))
        if (!arrived.has(Number(n))) arrived.set(Number(n), now);
    }
  })();
};

serveThread({
  async read({ url, queries }: ReadersData) {
    await Promise.all(queries.map((query) => follow(url, query)));
  },
  seen: () => ({ differences, arrived: [...arrived] }),
} satisfies ReadersMethods);
