/** What a node's configuration has values for that no other has: durations, amounts, proxies, or `off`. */
import * as z from "zod";
import { parseBytes, parseDurationMs } from "../lib/duration.ts";
import { parseProxy } from "../transport/index.ts";

const proxyWords = "expected off, or the URL of an HTTP proxy, as http://proxy.example:3128";
export const proxyField = z
  .string(proxyWords)
  .refine((text) => text === "off" || parseProxy(text) !== undefined, proxyWords);

const backupEveryWords = "expected off, or a duration from 1s on, as 30m, 1h or 6h";

export const backupEveryField = z.string(backupEveryWords).refine((text) => {
  if (text === "off") return true;
  try {
    return parseDurationMs(text, "backupEvery") >= 1000;
  } catch {
    return false;
  }
}, backupEveryWords);

const bytesWords = "expected off, or bytes from 1Ki on, as 64Ki, 20Mi or 1Gi";

export const bytesField = z.string(bytesWords).refine((text) => {
  try {
    return text === "off" || parseBytes(text, "bytes") >= 1024;
  } catch {
    return false;
  }
}, bytesWords);
