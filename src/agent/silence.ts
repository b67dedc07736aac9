/**
 * Which servers nobody hears, from membership's verdicts to whoever talks to servers: requests to them
 * end at once instead of waiting for their timeouts, and begin again when one is heard.
 */
import type { ServerSilence } from "../resources/index.ts";

export type Silence = ServerSilence & {
  /** Membership's word on one node. Tells the listeners when it is another than before. */
  tell(node: string, silent: boolean): void;
  /** Whether servers are known, and all of them are silent. */
  readonly all: boolean;
};

type Server = { readonly node: string; readonly host: string; readonly ports: { api: number } };

/** `servers`: those that are known now, this node excluded. */
export function createSilence(servers: () => readonly Server[]): Silence {
  const silent = new Set<string>();
  const listeners = new Set<() => void>();
  return {
    isSilent: ({ host, port }) =>
      servers().some(
        (server) => server.host === host && server.ports.api === port && silent.has(server.node),
      ),
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    tell(node, isSilent) {
      if (silent.has(node) === isSilent) return;
      if (isSilent) silent.add(node);
      else silent.delete(node);
      for (const listener of [...listeners]) listener();
    },
    get all() {
      const known = servers();
      return known.length > 0 && known.every(({ node }) => silent.has(node));
    },
  };
}
