/** One GET over mutual TLS, for an agent that asks a neighbour rarely: no pool, nothing but Node's own. */
import { request } from "node:https";
import { SkerryError } from "../../lib/errors.ts";

export type TlsGet = {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** The name that the other side's certificate must carry. */
  readonly serverName: string;
  readonly keyPem: string;
  readonly certPem: string;
  readonly caPem: string;
};

/** The body of a 200. Throws `not-answering` for anything else, and after `timeoutMs`. */
export function tlsGetText(
  target: TlsGet,
  options: { timeoutMs: number; bytesMax: number },
): Promise<string> {
  const { host, port, path } = target;
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) =>
      reject(
        new SkerryError({
          code: "not-answering",
          message: `https://${host}:${port}${path}: ${cause.message}`,
          retryable: true,
          cause,
        }),
      );
    const sent = request(
      {
        host,
        port,
        path,
        servername: target.serverName,
        key: target.keyPem,
        cert: target.certPem,
        ca: target.caPem,
        agent: false,
        headers: { connection: "close" },
        signal: AbortSignal.timeout(options.timeoutMs),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on("error", fail);
        response.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > options.bytesMax) sent.destroy(new Error(`over ${options.bytesMax} bytes`));
          else chunks.push(chunk);
        });
        response.on("end", () => {
          if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString("utf8"));
          else fail(new Error(`HTTP status ${response.statusCode}`));
        });
      },
    );
    sent.on("error", fail);
    sent.end();
  });
}
