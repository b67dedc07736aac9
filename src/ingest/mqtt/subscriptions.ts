/**
 * Who gets a message: a tree of topic levels, one edge a level of a filter. What was found for a topic
 * is kept until a subscription changes. A shared subscription ($share, MQTT 5, section 4.8.2) is a
 * group with turns.
 */
import { parseFilter } from "./topics.ts";
import type { Qos } from "./codec.ts";

export type Subscription = {
  /** As the client wrote it, `$share/GROUP/` included. */
  readonly text: string;
  readonly qos: Qos;
  /** No messages of its own. */
  readonly noLocal: boolean;
  /** Forwarded messages keep their retain flag. */
  readonly retainAsPublished: boolean;
  readonly identifier?: number;
};

/** All of one subscriber that match, the shared left out. */
export type Match<S> = { readonly subscriber: S; readonly subscriptions: readonly Subscription[] };
export type Group<S> = {
  readonly members: Map<S, Subscription>;
  /** How many turns it gave. */
  turn: number;
};
export type Matches<S> = {
  readonly plain: readonly Match<S>[];
  readonly groups: readonly Group<S>[];
};

export interface Subscriptions<S> {
  /** Adds or replaces. True when the subscriber did not have it. Its filter must be valid. */
  add(subscriber: S, subscription: Subscription): boolean;
  remove(subscriber: S, text: string): boolean;
  match(topic: string): Matches<S>;
  readonly size: number;
}

type Node<S> = {
  readonly children: Map<string, Node<S>>;
  readonly plain: Map<S, Subscription>;
  readonly groupByName: Map<string, Group<S>>;
};

/** Topics whose subscribers are remembered. */
const memoTopicsMax = 4096;

export function createSubscriptions<S>(): Subscriptions<S> {
  const root = createNode<S>();
  const memo = new Map<string, Matches<S>>();
  let size = 0;

  const pathOf = (text: string) => {
    const parsed = parseFilter(text);
    if (!parsed.ok) throw parsed.error;
    return { levels: parsed.value.filter.split("/"), group: parsed.value.group };
  };

  return {
    add(subscriber, subscription) {
      const { levels, group } = pathOf(subscription.text);
      let node = root;
      for (const level of levels) {
        const next = node.children.get(level) ?? createNode<S>();
        node.children.set(level, next);
        node = next;
      }
      let members = node.plain;
      if (group !== undefined) {
        const known = node.groupByName.get(group) ?? { members: new Map(), turn: 0 };
        node.groupByName.set(group, known);
        members = known.members;
      }
      const isNew = !members.has(subscriber);
      members.set(subscriber, subscription);
      if (isNew) size++;
      memo.clear();
      return isNew;
    },
    remove(subscriber, text) {
      const { levels, group } = pathOf(text);
      const path: Node<S>[] = [root];
      for (const level of levels) {
        const next = path.at(-1)?.children.get(level);
        if (!next) return false;
        path.push(next);
      }
      const node = path.at(-1) ?? root;
      const members = group === undefined ? node.plain : node.groupByName.get(group)?.members;
      if (!members?.delete(subscriber)) return false;
      if (group !== undefined && members.size === 0) node.groupByName.delete(group);
      for (let i = levels.length; i > 0 && isEmpty(path[i]); i--)
        path[i - 1]?.children.delete(levels[i - 1] ?? "");
      size--;
      memo.clear();
      return true;
    },
    match(topic) {
      const known = memo.get(topic);
      if (known) return known;
      const found: Node<S>[] = [];
      collect(root, topic.split("/"), 0, found);
      const matches = matchesOf(found);
      if (memo.size >= memoTopicsMax) memo.clear();
      memo.set(topic, matches);
      return matches;
    },
    get size() {
      return size;
    },
  };
}

const createNode = <S>(): Node<S> => ({
  children: new Map(),
  plain: new Map(),
  groupByName: new Map(),
});

const isEmpty = <S>(node: Node<S> | undefined) =>
  node !== undefined &&
  node.children.size === 0 &&
  node.plain.size === 0 &&
  node.groupByName.size === 0;

function collect<S>(node: Node<S>, levels: readonly string[], at: number, found: Node<S>[]): void {
  // MQTT-4.7.2-1: a wildcard in first place never matches the broker's own `$` topics.
  const wild = at > 0 || !levels[0]?.startsWith("$");
  const rest = wild ? node.children.get("#") : undefined;
  if (rest) found.push(rest);
  const level = levels[at];
  if (level === undefined) return void found.push(node);
  const literal = node.children.get(level);
  if (literal) collect(literal, levels, at + 1, found);
  const any = wild ? node.children.get("+") : undefined;
  if (any) collect(any, levels, at + 1, found);
}

function matchesOf<S>(found: readonly Node<S>[]): Matches<S> {
  const bySubscriber = new Map<S, Subscription[]>();
  const groups: Group<S>[] = [];
  for (const node of found) {
    for (const [subscriber, subscription] of node.plain) {
      const known = bySubscriber.get(subscriber);
      if (known) known.push(subscription);
      else bySubscriber.set(subscriber, [subscription]);
    }
    groups.push(...node.groupByName.values());
  }
  const plain = [...bySubscriber].map(([subscriber, subscriptions]) => ({
    subscriber,
    subscriptions,
  }));
  return { plain, groups };
}
