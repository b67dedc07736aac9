/**
 * A node that may hold an address of the cell, in a process of its own on a machine of its own; its
 * parent is the ledger. One service answers each connection with the node's name.
 */
import { createServer } from "node:net";
import { silentLog } from "../../src/lib/log.ts";
import { bootTimeMs, systemClock as clock } from "../../src/runtime/clock/index.ts";
import { listenAlso, listenOn } from "../../src/runtime/listen/index.ts";
import { createMetrics } from "../../src/runtime/metrics/index.ts";
import { createHostNetwork, startCellAddresses } from "../../src/traffic/address/index.ts";

export type HolderOrder = { readonly holder: string } | "stop";
export type HolderWord =
  | { readonly say: "can"; readonly word: string | null }
  | { readonly say: "stopped" };

const [node = "", ...addresses] = process.argv.slice(2);
const tell = (word: HolderWord) => process.send?.(word);
const port = 7070;
let ledger: { holder: string } | undefined;

const server = createServer((socket) => {
  // A client that gave up before it was answered.
  socket.on("error", () => socket.destroy());
  socket.end(node);
});
await listenOn(server, { host: "127.0.0.1", port, what: "the test's service" });
const part = startCellAddresses(
  {
    clock,
    bootTimeMs,
    log: silentLog,
    metrics: createMetrics(),
    network: createHostNetwork({ log: silentLog }),
    ports: {
      node,
      services: [
        {
          name: "the test's service",
          listen: (host) => listenAlso(server, { host, port, what: "the test's service" }),
        },
      ],
      async ask() {
        if (ledger) return ledger;
        throw new Error("the parent has not said");
      },
      mayStay: () => false,
      async tell(words) {
        for (const word of Object.values(words)) tell({ say: "can", word });
      },
      notReady: () => undefined,
      hasOthers: () => false,
    },
  },
  { canHold: "ready" },
);
part.follow([{ name: "cell", addresses }]);
process.on("message", (order: HolderOrder) => {
  if (order === "stop")
    return void part.stop().then(() => {
      tell({ say: "stopped" });
      process.exit(0);
    });
  ledger = order;
  part.follow([{ name: "cell", addresses, holder: order.holder }]);
});
