/** Batches of entries as NDJSON, one request each, over kept-alive connections of the gateway. */
import { Pool } from "undici";
import type { OpenSender } from "../load.ts";
import { payload } from "./payload.ts";

export const httpSender =
  (
    at: { origin: string; token: string },
    options: { stream: string; level: string; groupEntries: number },
  ): OpenSender =>
  async ({ acked, failed }) => {
    const pool = new Pool(at.origin, { connections: 20, pipelining: 1 });
    const line = Buffer.concat([payload, Buffer.from("\n")]);
    const full = Buffer.concat(Array.from({ length: options.groupEntries }, () => line));
    let closed = false;
    const post = async (first: number, count: number) => {
      const { statusCode, body } = await pool.request({
        path: `/v1/streams/${options.stream}/entries?durability=${encodeURIComponent(options.level)}`,
        method: "POST",
        headers: { authorization: `Bearer ${at.token}`, "content-type": "application/x-ndjson" },
        body: full.subarray(0, count * line.length),
      });
      const answer = await body.text();
      if (statusCode !== 200) throw new Error(`HTTP ${statusCode}: ${answer}`);
      acked(first, count);
    };
    return {
      groupEntries: options.groupEntries,
      send(first, count) {
        for (let start = 0; start < count; start += options.groupEntries) {
          post(first + start, Math.min(options.groupEntries, count - start)).catch(
            (error: Error) => {
              if (!closed) failed(error);
            },
          );
        }
      },
      async close() {
        closed = true;
        await pool.destroy();
      },
    };
  };
