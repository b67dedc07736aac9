/** A hub that was put back to an older copy: every node sends again what that one lacks. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { range } from "../support/data.ts";
import { alarms, openNode, telemetry } from "../support/hub-node.ts";

type Node = Awaited<ReturnType<typeof openNode>>;

const settle = async ({ clock }: Node) => {
  for (let second = 0; second < 30; second++) await clock.advance(1000);
};
const numbersAtHub = async ({ hub }: Node, stream: string): Promise<number[]> => {
  const found: number[] = [];
  for (let after: string | undefined; ;) {
    const page = await hub.read({ stream, after });
    for (const { body } of page.entries)
      found.push((JSON.parse(Buffer.from(body).toString()) as { n: number }).n);
    if (!page.more) return found.sort((a, b) => a - b);
    after = page.cursor;
  }
};
const holdsAll = async (node: Node, counts: Readonly<Record<string, number>>) => {
  for (const [stream, count] of Object.entries(counts))
    assert.deepEqual(await numbersAtHub(node, stream), range(1, count), stream);
  const status = await node.store.status();
  assert.equal(status.backlog.entries, 0);
};

for (const when of ["before", "while", "after"] as const)
  test(`a hub put back to how it was ${when} the node's first entries and its lane gets all again, once`, async () => {
    const node = await openNode({ streams: [telemetry, alarms] });
    const before = when === "before" ? await node.backUpHub() : undefined;
    await node.send("telemetry", 1, 300);
    await settle(node);
    const between = when === "while" ? await node.backUpHub() : undefined;
    await node.send("alarms", 1, 20);
    await node.send("telemetry", 301, 300);
    await settle(node);
    const after = when === "after" ? await node.backUpHub() : undefined;
    await node.send("telemetry", 601, 300);
    await node.send("alarms", 21, 20);
    await settle(node);
    await holdsAll(node, { telemetry: 900, alarms: 40 });

    await (before ?? between ?? after)?.();
    assert.ok((await numbersAtHub(node, "telemetry").catch(() => [])).length < 900);
    await settle(node);
    await holdsAll(node, { telemetry: 900, alarms: 40 });
    await node.send("telemetry", 901, 10);
    await node.send("alarms", 41, 10);
    await settle(node);
    await node.restart();
    await settle(node);
    await holdsAll(node, { telemetry: 910, alarms: 50 });
    await node.close();
  });
