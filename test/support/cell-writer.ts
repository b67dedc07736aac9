/** Writes ConfigMaps to a cell's API, one after the other, and remembers what was acknowledged. */
import { readAccess } from "../../src/runtime/local/index.ts";
import { createTlsFetch } from "../../src/runtime/tls-fetch/index.ts";

export type Writer = {
  /** From now on through this node. */
  aim(node: string): void;
  acknowledged(): readonly string[];
  /** Names of all that are there, as this node says. */
  read(node: string): Promise<readonly string[]>;
  stop(): Promise<void>;
};

const timeoutMs = 5_000;
const pauseMs = 50;

/** `dataDir` of a server: its administrator's certificate is good at every node. */
export function startWriter(dataDir: string, apiOf: (node: string) => string): Writer {
  const access = readAccess(dataDir);
  const tls = createTlsFetch(access);
  const acknowledged: string[] = [];
  let node: string | undefined;
  const stopping = new AbortController();
  const url = (at: string) => `https://${apiOf(at)}/api/v1/namespaces/default/configmaps`;
  const write = async (at: string, name: string) => {
    const answer = await tls.fetch(url(at), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name } }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    await answer.text();
    if (answer.status === 201) acknowledged.push(name);
  };
  const running = (async () => {
    for (let index = 0; !stopping.signal.aborted; index++) {
      // Refused, or its outcome unknown: another name is next, and nothing was promised of this one.
      if (node !== undefined) await write(node, `written-${index}`).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  })();
  return {
    aim: (to) => void (node = to),
    acknowledged: () => acknowledged,
    async read(at) {
      const answer = await tls.fetch(url(at), { signal: AbortSignal.timeout(timeoutMs * 4) });
      const { items } = (await answer.json()) as { items: { metadata: { name: string } }[] };
      return items.map(({ metadata }) => metadata.name);
    },
    async stop() {
      stopping.abort();
      await running;
      await tls.close();
    },
  };
}
