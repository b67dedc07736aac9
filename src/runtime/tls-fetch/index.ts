/**
 * `fetch` with a client certificate and a pinned authority: for commands and drills. A door of its own,
 * so that a node, which never fetches, does not load what it stands on.
 */
import { Agent, fetch as undiciFetch } from "undici";

export type TlsFetch = { readonly fetch: typeof fetch; close(): Promise<void> };

export function createTlsFetch(tls: {
  keyPem: string;
  chainPem: string;
  anchorsPem: readonly string[];
  /** The name the server's certificate must carry. */
  serverName: string;
  timeoutMs?: number;
  /** HTTP/1.1 and nothing else: some servers offer HTTP/2 and do not speak it. Default false. */
  onlyHttp1?: boolean;
}): TlsFetch {
  const timeoutMs = tls.timeoutMs ?? 10_000;
  const dispatcher = new Agent({
    connectTimeout: timeoutMs,
    headersTimeout: timeoutMs,
    ...(tls.onlyHttp1 ? { allowH2: false } : {}),
    // Followed streams stay silent for as long as nothing happens.
    bodyTimeout: 0,
    connect: {
      key: tls.keyPem,
      cert: tls.chainPem,
      ca: [...tls.anchorsPem],
      servername: tls.serverName,
      minVersion: "TLSv1.3",
    },
  });
  return {
    fetch: ((url: string, init?: object) =>
      undiciFetch(url, { ...init, dispatcher })) as unknown as typeof fetch,
    close: () => dispatcher.destroy(),
  };
}
