/** HTTP towards the node or hub whose data folder is on this machine, with the credentials found there. */
import { mintLocalToken, readAgentInfo } from "../agent/index.ts";
import { readAccess, isHubFolder } from "../runtime/local/index.ts";
import { createCluster, type Cluster } from "../client/index.ts";
import { SkerryError } from "../lib/errors.ts";
import { addressesHere, isAddressHere } from "../runtime/listen/index.ts";
import { createTlsFetch } from "../runtime/tls-fetch/index.ts";
import type { Context } from "./context.ts";
import { refusalOf } from "./refusal.ts";

export type LocalApi = {
  /** Of a node's gateway or of the hub, without a trailing slash. */
  readonly url: string;
  readonly fetch: typeof fetch;
  close(): Promise<void>;
};

const tokenTtlMs = 3_600_000;

/** A node's gateway with tokens minted from its own key, or the hub with the administrator's certificate. */
export async function openLocalApi(dataDir: string, context: Context): Promise<LocalApi> {
  if (isHubFolder(dataDir)) return openAdminApi(dataDir);
  const { gateway } = readAgentInfo(dataDir);
  const { clock } = context;
  const mint = () => ({
    text: mintLocalToken(dataDir, { subject: "user/cli", ttlMs: tokenTtlMs, clock }).token,
    mintedMs: clock.monotonicMs(),
  });
  let token = mint();
  const withToken = (url: string, init: RequestInit = {}) => {
    // Who follows, or sends a large file, outlives a token.
    if (clock.monotonicMs() - token.mintedMs > tokenTtlMs / 2) token = mint();
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${token.text}`);
    return fetch(url, { ...init, headers });
  };
  return { url: gateway, fetch: withToken as typeof fetch, close: async () => undefined };
}

/** `work` with the cell's or the hub's API and the administrator's certificate; on servers and hubs only. */
export async function withAdminApi<T>(
  dataDir: string,
  work: (api: LocalApi) => Promise<T>,
): Promise<T> {
  const api = openAdminApi(dataDir);
  try {
    return await work(api);
  } finally {
    await api.close();
  }
}

function openAdminApi(dataDir: string): LocalApi {
  const access = readAccess(dataDir);
  const tls = createTlsFetch(access);
  return { url: access.server, fetch: tls.fetch, close: () => tls.close() };
}

/** A token for a node, or on a hub for the cell, of this name; `server`: the node becomes one. */
export async function createJoinToken(
  dataDir: string,
  wanted: { name: string | undefined; ttlMs: number; server?: boolean },
): Promise<string> {
  const { token } = await withAdminApi(dataDir, (api) =>
    callJson<{ token: string }>(api, "/skerry/v1/tokens", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(wanted),
    }),
  );
  return token;
}

/** The same as desired state. */
export function openCluster(dataDir: string): { cluster: Cluster; close(): Promise<void> } {
  const access = readAccess(dataDir);
  const tls = createTlsFetch(access);
  return {
    cluster: createCluster({ server: access.server, fetch: tls.fetch, fieldManager: "skerry" }),
    close: () => tls.close(),
  };
}

/** JSON of one answer. Throws `not-answering`, or what the other side said. */
export async function callJson<T>(
  api: Pick<LocalApi, "url" | "fetch">,
  path: string,
  init: RequestInit = {},
): Promise<T> {
  const answer = await call(api, path, init);
  return (await answer.json()) as T;
}

export async function call(
  api: Pick<LocalApi, "url" | "fetch">,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  let answer: Response;
  try {
    answer = await api.fetch(`${api.url}${path}`, init);
  } catch (cause) {
    throw new SkerryError({
      code: "not-answering",
      message: `nothing answers at ${api.url}`,
      hint: isAddressHere(new URL(api.url).hostname.replace(/^\[|\]$/g, ""))
        ? "is it running? start it with skerry up (or skerry hub); its log stands in logs/ of the data folder"
        : `that is no address of this machine any more, which has ${addressesHere().join(", ") || "none"}: stop the node (skerry down) and start it there (skerry up --host ADDRESS)`,
      retryable: true,
      cause,
    });
  }
  if (answer.ok) return answer;
  throw refusalOf(path, answer.status, await answer.text());
}
