/** A store as checkers read it: over HTTP, as anybody does. */
import { Agent, request } from "undici";

export type View = {
  readonly name: string;
  /** Base URL of a node's gateway or of the hub. */
  readonly url: string;
  /** Query parameters beyond the checker's own, such as the cell at the hub. */
  readonly query?: Readonly<Record<string, string>>;
  readonly token?: string;
  readonly tls?: {
    readonly key: string;
    readonly cert: string;
    readonly ca: string;
    readonly servername: string;
  };
};

const timeoutMs = 30_000;

/** All of the stream, a JSON object a line, as many as came at once. Throws what went wrong. */
export async function* readEntries(view: View, stream: string): AsyncGenerator<readonly string[]> {
  const dispatcher = new Agent(
    view.tls
      ? {
          connect: {
            key: view.tls.key,
            cert: view.tls.cert,
            ca: view.tls.ca,
            servername: view.tls.servername,
          },
        }
      : {},
  );
  try {
    const query = new URLSearchParams({ ...view.query, format: "ndjson" });
    const answer = await request(`${view.url}/v1/streams/${stream}/entries?${query}`, {
      dispatcher,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      ...(view.token === undefined ? {} : { headers: { authorization: `Bearer ${view.token}` } }),
    });
    if (answer.statusCode !== 200)
      throw new Error(`status ${answer.statusCode}: ${(await answer.body.text()).slice(0, 200)}`);
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of answer.body) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      yield lines;
    }
    if (rest !== "") throw new Error(`the answer ended within a line: ${rest.slice(0, 200)}`);
  } finally {
    await dispatcher.destroy();
  }
}
