/**
 * The proxy's thread by itself: so light that an agent starts it before it has loaded anything else,
 * and the two load side by side.
 */
import { entryUrl } from "../../runtime/child/index.ts";
import { startThread, type Thread } from "../../runtime/thread/index.ts";
import type { ProxyEvents, ProxyMethods } from "../protocol.ts";

export type ProxyThread = Thread<ProxyMethods, ProxyEvents>;

const heapMbDefault = 256;

/** It does nothing until `startTraffic` tells it what to do. Throws what a thread throws that cannot start. */
export function startProxyThread({
  heapMbMax = heapMbDefault,
}: { readonly heapMbMax?: number | undefined } = {}): Promise<ProxyThread> {
  return startThread<ProxyMethods, ProxyEvents>(entryUrl(import.meta.url, "../proxy.entry"), {
    name: "proxy",
    heapMbMax,
  });
}
