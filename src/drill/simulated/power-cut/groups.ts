/**
 * Consumer groups: what was acknowledged is not delivered again, everything else is, and the results that
 * came with an acknowledgement are there with it, so that after all each entry has one result.
 */
import { join } from "node:path";
import { openStreamStore, type LocalStreamStore } from "../../../data/index.ts";
import { claimSameDisk } from "./same-disk.ts";
import { deps, few, type Part } from "./part.ts";

const [input, output] = ["orders", "bills"];
const id = { stream: input, group: "billing" };

/** An entry that was stored, or one that was done. */
type Said = { readonly stored: string } | { readonly done: string };

export const groupsPart: Part = {
  name: "groups",
  async write({ folder, life, random, more, acknowledge }) {
    const store = await open(join(folder, "groups.db"));
    await store.groups.create(id, { from: "oldest" });
    for (let next = 0; more();) {
      const names = Array.from({ length: 1 + random.integer(4) }, () => `${life}-${++next}`);
      await put(store, names);
      for (const name of names) acknowledge({ stored: name } satisfies Said);
      // Those that nobody acknowledges are delivered again, a moment later or after a start.
      for (const name of await work(store, { isLeft: random.integer(5) === 0, ackMs: 100 }))
        acknowledge({ done: name } satisfies Said);
    }
  },
  async check(folder, acknowledged) {
    const path = join(folder, "groups.db");
    claimSameDisk(path);
    const store = await open(path);
    try {
      return await judge(store, acknowledged as readonly Said[]);
    } finally {
      await store.close();
    }
  },
};

async function open(path: string): Promise<LocalStreamStore> {
  const store = openStreamStore(deps, { path, node: "n1" });
  await store.setStreams([input, output].map((name) => ({ name, retention: {} })));
  return store;
}

const entry = (stream: string, name: string) => ({
  stream,
  body: new TextEncoder().encode(JSON.stringify({ name })),
});
const nameOf = ({ body }: { readonly body: Uint8Array }) =>
  (JSON.parse(new TextDecoder().decode(body)) as { name: string }).name;

async function put(store: LocalStreamStore, names: readonly string[]): Promise<void> {
  const answer = await store.append(names.map((name) => entry(input, name)));
  if (answer.state !== "stored") throw new Error(`the store answered ${JSON.stringify(answer)}`);
}

/** Bills what comes next; which orders were billed. */
async function work(
  store: LocalStreamStore,
  { isLeft = false, ackMs = 60_000 } = {},
): Promise<readonly string[]> {
  const taken = await store.groups.take(id, { limit: 3, ackMs });
  if (taken === undefined || isLeft) return [];
  const names = taken.entries.map(nameOf);
  const results = names.map((name) => entry(output, name));
  const { state } = await store.groups.ack(id, taken.delivery, results);
  // Its time was over: who has it now bills it.
  return state === "acknowledged" ? names : [];
}

async function judge(store: LocalStreamStore, said: readonly Said[]): Promise<string[]> {
  const done = said.flatMap((one) => ("done" in one ? [one.done] : []));
  const bills = await namesIn(store, output);
  const orders = await namesIn(store, input);
  await store.groups.create(id, { from: "oldest" });
  const again: string[] = [];
  for (let names = await work(store); names.length > 0; names = await work(store))
    again.push(...names);
  const after = new Map<string, number>();
  for (const name of await namesIn(store, output)) after.set(name, (after.get(name) ?? 0) + 1);
  const [billed, ordered] = [new Set(bills), new Set(orders)];
  const doneBefore = new Set(done);
  return [
    ...few(
      said
        .flatMap((one) => ("stored" in one && !ordered.has(one.stored) ? [one.stored] : []))
        .map((name) => `acknowledged order ${name} is lost`),
    ),
    ...few(done.filter((name) => !billed.has(name)).map((name) => `the bill of ${name} is lost`)),
    ...few(
      again
        .filter((name) => doneBefore.has(name))
        .map((name) => `${name} was acknowledged, and was delivered again`),
    ),
    ...few(
      orders
        .filter((name) => after.get(name) !== 1)
        .map((name) => `order ${name} has ${after.get(name) ?? 0} bills`),
    ),
  ];
}

async function namesIn(store: LocalStreamStore, stream: string): Promise<string[]> {
  const names: string[] = [];
  let cursor: string | undefined;
  for (let isMore = true; isMore;) {
    const page = await store.read({ stream, after: cursor, limit: 1000 });
    names.push(...page.entries.map(nameOf));
    [cursor, isMore] = [page.cursor, page.more];
  }
  return names;
}
