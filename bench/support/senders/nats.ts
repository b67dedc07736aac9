/**
 * A JetStream publisher in NATS' text protocol (docs.nats.io, "Client Protocol"): each message
 * carries its own reply subject, to which the server sends the stream's acknowledgement.
 */
import { once } from "node:events";
import type { TLSSocket } from "node:tls";
import type { OpenSender, SenderEvents } from "../load.ts";
import { payload } from "./payload.ts";
import { dial, secure, type Endpoint } from "./tls.ts";

const connections = 8;
const subject = "bench.entries";
const inbox = "_INBOX.bench";

export const natsSender =
  (endpoint: Endpoint): OpenSender =>
  async (events) => {
    const clients = await Promise.all(
      Array.from({ length: connections }, (_, index) => openClient(endpoint, index, events)),
    );
    let turn = 0;
    return {
      groupEntries: 1,
      send(first, count) {
        const share = Math.ceil(count / connections);
        for (let start = 0; start < count; start += share)
          clients[turn++ % connections]?.publish(first + start, Math.min(share, count - start));
      },
      async close() {
        for (const client of clients) client.close();
      },
    };
  };

async function openClient(endpoint: Endpoint, index: number, events: SenderEvents) {
  let closed = false;
  const fail = (error: Error) => {
    if (!closed) events.failed(error);
  };
  const socket = await connect(endpoint);
  const replies = `${inbox}.${index}`;
  onMessages(socket, (to, answer) => {
    if (answer.includes('"error"')) return fail(new Error(`JetStream: ${answer}`));
    events.acked(Number(to.slice(to.lastIndexOf(".") + 1)), 1);
  });
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("nats-server closed the connection")));
  socket.write(`SUB ${replies}.* 1\r\n`);
  return {
    publish(first: number, count: number) {
      const parts: Buffer[] = [];
      for (let entry = first; entry < first + count; entry++) {
        const head = `PUB ${subject} ${replies}.${entry} ${payload.length}\r\n`;
        parts.push(Buffer.from(head), payload, Buffer.from("\r\n"));
      }
      socket.write(Buffer.concat(parts));
    },
    close() {
      closed = true;
      socket.destroy();
    },
  };
}

/** Makes the file stream that takes the entries. Throws while there is nobody to make it. */
export async function createJetStream(
  endpoint: Endpoint,
  { replicas }: { replicas: number },
): Promise<void> {
  const socket = await connect(endpoint);
  const answered = Promise.withResolvers<string>();
  socket.on("error", answered.reject);
  onMessages(socket, (_to, answer) => answered.resolve(answer));
  const body = JSON.stringify({
    name: "bench",
    subjects: [subject],
    storage: "file",
    num_replicas: replicas,
    discard: "old",
  });
  socket.write(`SUB ${inbox} 1\r\n`);
  socket.write(`PUB $JS.API.STREAM.CREATE.bench ${inbox} ${body.length}\r\n${body}\r\n`);
  // A cluster without a leader does not answer at all.
  const timer = setTimeout(() => answered.reject(new Error("JetStream does not answer")), 2000);
  const answer = await answered.promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
  if (answer.includes('"error"')) throw new Error(`JetStream did not make the stream: ${answer}`);
}

/** The server speaks first, in plain; then both go on in TLS. */
async function connect(endpoint: Endpoint): Promise<TLSSocket> {
  const plain = await dial(endpoint);
  await once(plain, "data");
  const socket = await secure(plain, endpoint);
  const options = { verbose: false, pedantic: false, tls_required: true, lang: "node" };
  socket.write(`CONNECT ${JSON.stringify({ ...options, version: "0" })}\r\n`);
  return socket;
}

function onMessages(socket: TLSSocket, take: (to: string, body: string) => void): void {
  let rest = "";
  socket.setEncoding("latin1");
  socket.on("data", (chunk: string) => {
    const received = rest + chunk;
    let at = 0;
    for (;;) {
      const lineEnd = received.indexOf("\r\n", at);
      if (lineEnd < 0) break;
      const [verb, to = "", , length] = received.slice(at, lineEnd).split(" ");
      let next = lineEnd + 2;
      if (verb === "MSG") {
        next += Number(length) + 2;
        if (received.length < next) break;
        take(to, received.slice(lineEnd + 2, next - 2));
      } else if (verb === "PING") socket.write("PONG\r\n");
      else if (verb === "-ERR") socket.destroy(new Error(received.slice(at, lineEnd)));
      at = next;
    }
    rest = received.slice(at);
  });
}
