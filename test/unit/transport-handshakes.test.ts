/** T27: of thousands that call at once a few are served at a time, and nobody is served in vain. */
import { strict as assert } from "node:assert";
import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { test } from "node:test";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createHandshakes } from "../../src/transport/handshakes.ts";

const limits = { handshakesMax: 2, holdMs: 500, waitMs: 2500 };

class FakeSocket extends EventEmitter {
  readonly remoteAddress: string;
  readonly remotePort: number;
  isDestroyed = false;
  constructor(remotePort: number, remoteAddress = "192.0.2.7") {
    super();
    this.remotePort = remotePort;
    this.remoteAddress = remoteAddress;
  }
  destroy() {
    this.isDestroyed = true;
    this.emit("close");
  }
}

function arrange(more: Partial<typeof limits> = {}) {
  const clock = createSimulatedClock();
  const begun: number[] = [];
  const letGo: number[] = [];
  const handshakes = createHandshakes(
    { clock, log: silentLog },
    {
      ...limits,
      ...more,
      begin: ({ remotePort = 0 }) => void begun.push(remotePort),
      letGo: ({ remotePort = 0 }) => void letGo.push(remotePort),
    },
  );
  const arrive = (port: number, address?: string) => {
    const socket = new FakeSocket(port, address);
    handshakes.arrived(socket as unknown as Socket);
    return socket;
  };
  const over = (port: number) => handshakes.over(new FakeSocket(port) as unknown as Socket);
  return { clock, begun, letGo, arrive, over };
}

test("T27: a few handshakes at a time, in the order of coming", () => {
  const { begun, arrive, over } = arrange();
  for (const port of [1, 2, 3, 4, 5]) arrive(port);
  assert.deepEqual(begun, [1, 2]);
  over(2);
  assert.deepEqual(begun, [1, 2, 3]);
  over(2);
  over(77);
  assert.deepEqual(begun, [1, 2, 3], "one that is over gives its turn away once");
  over(1);
  over(3);
  assert.deepEqual(begun, [1, 2, 3, 4, 5]);
});

test("T27: the address with the fewest under way is served next: a flood waits for itself", () => {
  const { begun, arrive, over } = arrange();
  for (const port of [1, 2, 3, 4, 5]) arrive(port);
  arrive(11, "192.0.2.11");
  arrive(12, "192.0.2.12");
  arrive(13, "192.0.2.11");
  over(1);
  assert.deepEqual(begun, [1, 2, 11], "one under way, against none");
  over(2);
  assert.deepEqual(begun, [1, 2, 11, 3], "none under way, and the longest since it was served");
});

test("T27: who hangs up gives its turn away, or its place in the line", () => {
  const { begun, arrive } = arrange();
  const [first, , third] = [1, 2, 3, 4].map((port) => arrive(port));
  third?.destroy();
  first?.destroy();
  assert.deepEqual(begun, [1, 2, 4]);
});

test("T27: who waits for its client holds up nobody for long; an error of one that waits ends nothing", async () => {
  const { clock, begun, arrive } = arrange();
  const [, , third] = [1, 2, 3, 4].map((port) => arrive(port));
  third?.emit("error", new Error("ECONNRESET"));
  await clock.advance(limits.holdMs - 1);
  assert.deepEqual(begun, [1, 2]);
  await clock.advance(1);
  assert.deepEqual(begun, [1, 2, 3, 4]);
});

test("T27: whose handshake would end too late is let go, and the next one is served at once", async () => {
  const { clock, begun, letGo, arrive, over } = arrange({ holdMs: 60_000 });
  const early = [1, 2, 3, 4].map((port) => arrive(port));
  await clock.advance(limits.waitMs + 1);
  arrive(5);
  over(1);
  assert.deepEqual(begun, [1, 2, 5]);
  assert.deepEqual(letGo, [3, 4]);
  assert.deepEqual(
    early.map(({ isDestroyed }) => isDestroyed),
    [false, false, true, true],
  );
});
