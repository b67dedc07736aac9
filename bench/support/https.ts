/** An HTTPS client with a certificate for both sides of the API's bench, and many watchers at once. */
import { once } from "node:events";
import { Agent, request, type RequestOptions } from "node:https";
import type { IncomingMessage } from "node:http";
import type { Endpoint } from "./senders/tls.ts";

export type Https = {
  /** The body of a 200; any other status is an error. */
  get(path: string): Promise<Buffer>;
  send(method: string, path: string, contentType: string, body: unknown): Promise<Buffer>;
  /** An answer whose body goes on, on a connection of its own. */
  stream(path: string): Promise<IncomingMessage>;
  close(): Promise<void>;
};

export function openHttps(endpoint: Endpoint): Https {
  const tls: RequestOptions = {
    host: endpoint.host,
    port: endpoint.port,
    servername: endpoint.serverName,
    key: endpoint.keyPem,
    cert: endpoint.chainPem,
    ca: [...endpoint.anchorsPem],
    minVersion: "TLSv1.3",
  };
  const agent = new Agent({ keepAlive: true });
  const exchange = async (options: RequestOptions, body?: string): Promise<IncomingMessage> => {
    const asked = request({ ...tls, agent, ...options });
    asked.end(body);
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    return response;
  };
  const whole = async (options: RequestOptions, body?: string): Promise<Buffer> => {
    const response = await exchange(options, body);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const answer = Buffer.concat(chunks);
    const { statusCode = 0 } = response;
    if (statusCode >= 300)
      throw new Error(`${options.method} ${options.path}: ${statusCode} ${answer.toString()}`);
    return answer;
  };
  return {
    get: (path) => whole({ method: "GET", path }),
    send: (method, path, contentType, body) => {
      const text = JSON.stringify(body);
      const headers = { "content-type": contentType, "content-length": Buffer.byteLength(text) };
      return whole({ method, path, headers }, text);
    },
    async stream(path) {
      const response = await exchange({ method: "GET", path, agent: new Agent() });
      if (response.statusCode !== 200) throw new Error(`${path}: ${response.statusCode}`);
      return response;
    },
    async close() {
      agent.destroy();
    },
  };
}

export type Watchers = AsyncDisposable & {
  /** Resolves when every watcher was told that many frames from now on. */
  frames(count: number): Promise<void>;
};

const newline = 0x0a;
const frameMs = 60_000;

export async function openWatchers(
  https: Https,
  options: { path: string; count: number },
): Promise<Watchers> {
  const streams: IncomingMessage[] = [];
  // A few handshakes at a time, as clients that come by themselves do.
  for (let first = 0; first < options.count; first += 20) {
    const size = Math.min(20, options.count - first);
    streams.push(
      ...(await Promise.all(Array.from({ length: size }, () => https.stream(options.path)))),
    );
  }
  let told = 0;
  let onTold = () => {};
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  for (const stream of streams) {
    stream.on("data", (chunk: Buffer) => {
      for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, at + 1)) told++;
      onTold();
    });
    stream.on("error", failure.reject);
    stream.on("end", () => failure.reject(new Error("a watch ended")));
  }
  return {
    async frames(count) {
      const until = told + count * streams.length;
      const reached = new Promise<void>((resolve, reject) => {
        const limit = setTimeout(
          () => reject(new Error(`${until - told} frames did not come`)),
          frameMs,
        );
        onTold = () => {
          if (told < until) return;
          clearTimeout(limit);
          resolve();
        };
      });
      await Promise.race([reached, failure.promise]);
    },
    async [Symbol.asyncDispose]() {
      for (const stream of streams) stream.destroy();
    },
  };
}
