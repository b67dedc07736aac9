/**
 * What the cell API is held against: Fastify over the same TLS, answering with bytes that it was
 * given. `node bare-api.entry.ts CONFIG`: a JSON file with where to listen and what to serve.
 */
import { readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import fastify from "fastify";

export type BareConfig = {
  readonly host: string;
  readonly port: number;
  /** Paths of PEM files. */
  readonly tls: { readonly key: string; readonly chain: string; readonly anchors: string };
  /** Base64 of the answers. */
  readonly object: string;
  readonly list: string;
  readonly frame: string;
};

const config = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as BareConfig;
const bytes = (text: string) => Buffer.from(text, "base64");
const [object, list, frame] = [bytes(config.object), bytes(config.list), bytes(config.frame)];
const watchers = new Set<ServerResponse>();
const app = fastify({
  https: {
    key: readFileSync(config.tls.key),
    cert: readFileSync(config.tls.chain),
    ca: readFileSync(config.tls.anchors),
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: "TLSv1.3",
  },
});
app.get("/object", async (_request, reply) => reply.type("application/json").send(object));
app.get("/list", async (_request, reply) => reply.type("application/json").send(list));
app.get("/watch", (_request, reply) => {
  reply.hijack();
  const response = reply.raw;
  response.writeHead(200, { "Content-Type": "application/json" });
  response.flushHeaders();
  watchers.add(response);
  response.once("close", () => watchers.delete(response));
});
/** A change: nothing is written, the frame goes to everybody. */
app.post("/change", async (_request, reply) => {
  for (const watcher of watchers) watcher.write(frame);
  return reply.send({});
});
await app.listen({ host: config.host, port: config.port });
