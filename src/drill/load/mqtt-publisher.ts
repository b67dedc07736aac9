/** A small MQTT 3.1.1 publisher (QoS 1) on `mqtt-packet`; its acknowledgements are the point. */
import { connect, type Socket } from "node:net";
import { generate, parser, type Packet } from "mqtt-packet";
import type { Clock } from "../../lib/clock.ts";

export type Publisher = {
  /** Resolves with the PUBACK; rejects when the connection goes before it. */
  publish(topic: string, payload: string): Promise<void>;
  readonly closed: boolean;
  close(): void;
};

/** Connects and waits for CONNACK. Rejects with what the broker or the network said, or after `timeoutMs`. */
export function connectPublisher(options: {
  host: string;
  port: number;
  clientId: string;
  username: string;
  password: string;
  timeoutMs: number;
  clock: Clock;
}): Promise<Publisher> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: options.host, port: options.port });
    const waitingById = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
    const parse = parser({ protocolVersion: 4 });
    let nextId = 0;
    let closed = false;

    const fail = (error: Error) => {
      if (closed) return;
      closed = true;
      timer.cancel();
      socket.destroy();
      reject(error);
      for (const waiting of waitingById.values()) waiting.reject(error);
      waitingById.clear();
    };
    const timer = options.clock.after(options.timeoutMs, () =>
      fail(new Error(`no CONNACK within ${options.timeoutMs} ms`)),
    );
    const publisher: Publisher = {
      publish(topic, payload) {
        if (closed) return Promise.reject(new Error("connection closed"));
        do nextId = (nextId % 65_535) + 1;
        while (waitingById.has(nextId));
        const messageId = nextId;
        return new Promise((done, failed) => {
          waitingById.set(messageId, { resolve: done, reject: failed });
          socket.write(
            generate({
              cmd: "publish",
              messageId,
              qos: 1,
              topic,
              payload,
              dup: false,
              retain: false,
            }),
          );
        });
      },
      get closed() {
        return closed;
      },
      close() {
        fail(new Error("closed by the publisher"));
      },
    };

    parse.on("packet", (packet: Packet) => {
      if (packet.cmd === "connack") {
        timer.cancel();
        if (packet.returnCode === 0) resolve(publisher);
        else fail(new Error(`broker refused the connection with code ${packet.returnCode}`));
      } else if (packet.cmd === "puback" && packet.messageId !== undefined) {
        waitingById.get(packet.messageId)?.resolve();
        waitingById.delete(packet.messageId);
      }
    });
    parse.on("error", fail);
    socket.on("data", (chunk) => parse.parse(chunk));
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("connection closed by the broker")));
    socket.on("connect", () => {
      socket.setNoDelay(true);
      socket.write(
        generate({
          cmd: "connect",
          protocolId: "MQTT",
          protocolVersion: 4,
          clean: true,
          clientId: options.clientId,
          keepalive: 30,
          username: options.username,
          password: Buffer.from(options.password),
        }),
      );
    });
  });
}
