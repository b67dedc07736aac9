/** The parts that are SQLite files: ledger, streams, the mirror of desired state. */
import { join } from "node:path";
import type { EntryInput } from "../../../api/index.ts";
import { openStreamStore, type AppendAnswer, type LocalStreamStore } from "../../../data/index.ts";
import { openSqliteLedger, type KeyValue, type Ledger } from "../../../ledger/index.ts";
import { openMirrorStore, type MirroredObject } from "../../../resources/index.ts";
import { claimSameDisk } from "./same-disk.ts";
import { deps, few, type Part, type Writing } from "./part.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined) => value && new TextDecoder().decode(value);
/** Long enough that a transaction spans several blocks of the disk. */
const filler = (random: Writing["random"]) => "x".repeat(random.integer(3000));
const clients = 4;

/* Ledger: acknowledged revisions are there, pairs are whole, revisions never go back. */

type Revised = { readonly key: string; readonly value: string; readonly revision: number };

export const ledgerPart: Part = {
  name: "ledger",
  async write({ folder, life, random, more, acknowledge }) {
    const ledger = openSqliteLedger({ ...deps, path: join(folder, "ledger.db") });
    let next = 0;
    const client = async () => {
      while (more()) {
        const key = `k/${life}/${next++}`;
        const value = `${key} ${filler(random)}`;
        const outcome = await ledger.transact(
          [{ key, modRevision: 0 }],
          [key, `${key}/twin`].map((name) => ({ type: "put", key: name, value: bytes(value) })),
        );
        if (outcome.state !== "done") throw new Error(`the ledger answered ${outcome.state}`);
        acknowledge({ key, value, revision: outcome.revision } satisfies Revised);
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
  },
  async check(folder, acknowledged) {
    const ledger = openSqliteLedger({ ...deps, path: join(folder, "ledger.db") });
    try {
      return await judgeLedger(ledger, acknowledged as readonly Revised[]);
    } finally {
      await ledger.close();
    }
  },
};

async function judgeLedger(ledger: Ledger, acknowledged: readonly Revised[]): Promise<string[]> {
  const items = await listAll(ledger);
  const byKey = new Map(items.map((item) => [item.key, item]));
  const lost = acknowledged.filter(({ key, value, revision }) => {
    const found = byKey.get(key);
    return text(found?.value) !== value || found?.modRevision !== revision;
  });
  const half = items.filter(({ key, value }) => {
    const other = key.endsWith("/twin") ? key.slice(0, -"/twin".length) : `${key}/twin`;
    return text(byKey.get(other)?.value) !== text(value);
  });
  const outcome = await ledger.transact([], [{ type: "put", key: "after", value: bytes("cut") }]);
  const last = Math.max(0, ...acknowledged.map(({ revision }) => revision));
  return [
    ...few(lost.map(({ key, revision }) => `acknowledged ${key} at ${revision} is lost`)),
    ...few(half.map(({ key }) => `${key} is there without its other half`)),
    ...(outcome.state === "done" && outcome.revision > last
      ? []
      : [
          `revision ${last} was acknowledged, and the next write answered ${JSON.stringify(outcome)}`,
        ]),
  ];
}

async function listAll(ledger: Ledger): Promise<KeyValue[]> {
  const items: KeyValue[] = [];
  for (let isMore = true; isMore;) {
    const after = items.at(-1)?.key;
    const page = await ledger.list("k/", after === undefined ? {} : { after });
    items.push(...page.items);
    isMore = page.more;
  }
  return items;
}

/* Streams: acknowledged entries are there once, positions of one origin are never given twice. */

const stream = { name: "telemetry", retention: {} };
type Appended = { readonly sequence: string; readonly origin: string; readonly position: number };

export const streamsPart: Part = {
  name: "streams",
  async write({ folder, life, random, more, acknowledge }) {
    const path = join(folder, "streams.db");
    let store = await openStreams(path);
    let next = 0;
    while (more()) {
      // An ordered stop now and then: what it notes about its end must be true later.
      if (next > 0 && random.integer(40) === 0) {
        await store.close();
        store = await openStreams(path);
      }
      const batch = Array.from({ length: clients }, () => entry(life, ++next, filler(random)));
      const answers = await Promise.all(batch.map((one) => store.append([one])));
      for (const [at, answer] of answers.entries())
        acknowledge({
          sequence: keyText(batch[at]?.key),
          ...positionOf(answer),
        } satisfies Appended);
    }
  },
  async check(folder, acknowledged) {
    const path = join(folder, "streams.db");
    claimSameDisk(path);
    const store = await openStreams(path);
    try {
      return await judgeStreams(store, acknowledged as readonly Appended[]);
    } finally {
      await store.close();
    }
  },
};

const entry = (life: number, sequence: number, body: string) => ({
  stream: stream.name,
  key: { producer: `p${life}`, epoch: 1, sequence },
  body: bytes(JSON.stringify({ text: body })),
});

const keyText = (key: EntryInput["key"]) => (key ? `${key.producer}/${key.sequence}` : "");

async function openStreams(path: string): Promise<LocalStreamStore> {
  const store = openStreamStore(deps, { path, node: "n1" });
  await store.setStreams([stream]);
  return store;
}

/** Of one entry: the cover names its position and no other. */
function positionOf(answer: AppendAnswer): Omit<Appended, "sequence"> {
  if (answer.state !== "stored") throw new Error(`the store answered ${JSON.stringify(answer)}`);
  const [[origin, position] = ["", 0]] = Object.entries(answer.cover);
  return { origin, position };
}

async function judgeStreams(
  store: LocalStreamStore,
  acknowledged: readonly Appended[],
): Promise<string[]> {
  const countBySequence = new Map<string, number>();
  let cursor: string | undefined;
  for (let isMore = true; isMore;) {
    const page = await store.read({ stream: stream.name, after: cursor, limit: 1000 });
    for (const { key } of page.entries) {
      const name = keyText(key);
      countBySequence.set(name, (countBySequence.get(name) ?? 0) + 1);
    }
    [cursor, isMore] = [page.cursor, page.more];
  }
  const vector = await store.vector();
  const total = Object.values(vector).reduce((sum, top) => sum + top, 0);
  const given = positionOf(await store.append([entry(9999, 1, "after the cut")]));
  const twice = acknowledged.filter(
    ({ origin, position }) => origin === given.origin && position >= given.position,
  );
  return [
    ...few(
      acknowledged
        .filter(({ sequence }) => !countBySequence.has(sequence))
        .map(({ sequence }) => `acknowledged entry ${sequence} is lost`),
    ),
    ...few(
      [...countBySequence]
        .filter(([, count]) => count > 1)
        .map(([sequence, count]) => `entry ${sequence} is there ${count} times`),
    ),
    ...few(
      acknowledged
        .filter(({ origin, position }) => position > (vector[origin] ?? 0))
        .map(({ origin, position }) => `position ${position} of ${origin} is behind the vector`),
    ),
    ...few(twice.map(({ origin, position }) => `position ${position} of ${origin} is given again`)),
    ...(total === countBySequence.size
      ? []
      : [`the vector covers ${total} entries, the store holds ${countBySequence.size}`]),
  ];
}

/* Mirror: a batch is there whole once it was applied. */

type Mirrored = { readonly keys: readonly string[]; readonly version: string };

export const mirrorPart: Part = {
  name: "mirror",
  async write({ folder, life, random, more, acknowledge }) {
    const store = openMirrorStore(deps, { path: join(folder, "mirror.db") });
    for (let round = 0; more(); round++) {
      const version = `${life}.${round}`;
      const keys = ["a", "b"].map((half) => `ns/${random.integer(20)}/${half}`);
      const pair = keys.map((key) => key.replace(/\d+/, String(round % 20)));
      await store.apply({
        replace: false,
        put: pair.map((key) => ({ resource: "pods", key, json: `"${version} ${filler(random)}"` })),
        delete: [],
      });
      acknowledge({ keys: pair, version } satisfies Mirrored);
    }
  },
  async check(folder, acknowledged) {
    const store = openMirrorStore(deps, { path: join(folder, "mirror.db") });
    try {
      const objects = new Map(
        (await store.load()).map((object) => [object.key, versionOf(object)]),
      );
      const wanted = new Map<string, string>();
      for (const { keys, version } of acknowledged as readonly Mirrored[])
        for (const key of keys) wanted.set(key, version);
      const half = [...objects].filter(
        ([key, version]) =>
          objects.get(key.replace(/.$/, key.endsWith("a") ? "b" : "a")) !== version,
      );
      return [
        ...few(
          [...wanted]
            .filter(([key, version]) => isOlder(objects.get(key), version))
            .map(([key, version]) => `${key} is ${objects.get(key)}, applied was ${version}`),
        ),
        ...few(half.map(([key, version]) => `${key} is ${version}, its other half is not`)),
      ];
    } finally {
      await store.close();
    }
  },
};

const versionOf = ({ json }: MirroredObject) => /^"(\S+) /.exec(json)?.[1] ?? json;

function isOlder(found: string | undefined, wanted: string): boolean {
  if (found === undefined) return true;
  const [life = 0, round = 0] = found.split(".").map(Number);
  const [wantedLife = 0, wantedRound = 0] = wanted.split(".").map(Number);
  return life < wantedLife || (life === wantedLife && round < wantedRound);
}
