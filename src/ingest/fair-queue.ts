/**
 * Deficit round robin (M. Shreedhar, G. Varghese: Efficient Fair Queuing, SIGCOMM 1995) over
 * producers: each turn a producer may send `quantum` worth of what it has waiting, whatever the others
 * have. Within a producer its connections take turns, one item each. Pure; every step is O(1).
 */
export interface FairQueue<T> {
  /** Behind what this connection has waiting. `cost` counts against the producer's turns. */
  push(item: T, from: { producer: string; connection: unknown; cost: number }): void;
  /** The next item in fair order; undefined when there is none, or `accepts` does not want it now. */
  take(accepts?: (item: T) => boolean): T | undefined;
  readonly size: number;
}

type Costed<T> = { readonly item: T; readonly cost: number };
/** What one connection has waiting. */
type Line<T> = {
  readonly connection: unknown;
  readonly items: Costed<T>[];
  head: number;
  next: Line<T> | undefined;
};
type Flow<T> = {
  readonly producer: string;
  readonly lineByConnection: Map<unknown, Line<T>>;
  readonly lines: Ring<Line<T>>;
  deficit: number;
  /** Whether this turn's quantum was given. */
  served: boolean;
  next: Flow<T> | undefined;
};

/** First in, first out, by links: rotating is taking the first and adding it again. */
type Ring<N extends { next: N | undefined }> = { first: N | undefined; last: N | undefined };

function append<N extends { next: N | undefined }>(ring: Ring<N>, node: N): void {
  node.next = undefined;
  if (ring.last) ring.last.next = node;
  else ring.first = node;
  ring.last = node;
}

function removeFirst<N extends { next: N | undefined }>(ring: Ring<N>): void {
  ring.first = ring.first?.next;
  if (!ring.first) ring.last = undefined;
}

export function createFairQueue<T>(options: { readonly quantum: number }): FairQueue<T> {
  const flowByProducer = new Map<string, Flow<T>>();
  const flows: Ring<Flow<T>> = { first: undefined, last: undefined };
  let size = 0;

  const flowOf = (producer: string): Flow<T> => {
    const known = flowByProducer.get(producer);
    if (known) return known;
    const flow: Flow<T> = {
      producer,
      lineByConnection: new Map(),
      lines: { first: undefined, last: undefined },
      deficit: 0,
      served: false,
      next: undefined,
    };
    flowByProducer.set(producer, flow);
    append(flows, flow);
    return flow;
  };

  const lineOf = (flow: Flow<T>, connection: unknown): Line<T> => {
    const known = flow.lineByConnection.get(connection);
    if (known) return known;
    const line: Line<T> = { connection, items: [], head: 0, next: undefined };
    flow.lineByConnection.set(connection, line);
    append(flow.lines, line);
    return line;
  };

  /** Of a connection that has something: out with its first, and the next connection's turn. */
  const shift = (flow: Flow<T>, line: Line<T>) => {
    line.head++;
    removeFirst(flow.lines);
    if (line.head === line.items.length) {
      flow.lineByConnection.delete(line.connection);
      return;
    }
    // Now and then, so that what was taken is let go.
    if (line.head >= 1024 && line.head * 2 > line.items.length) {
      line.items.splice(0, line.head);
      line.head = 0;
    }
    append(flow.lines, line);
  };

  return {
    push(item, { producer, connection, cost }) {
      lineOf(flowOf(producer), connection).items.push({ item, cost });
      size++;
    },
    take(accepts) {
      for (let flow = flows.first; flow; flow = flows.first) {
        if (!flow.served) {
          flow.served = true;
          flow.deficit += options.quantum;
        }
        const line = flow.lines.first;
        const head = line?.items[line.head];
        if (line && head && head.cost <= flow.deficit) {
          if (accepts && !accepts(head.item)) return undefined;
          flow.deficit -= head.cost;
          shift(flow, line);
          size--;
          if (flow.lines.first) return head.item;
          // Who has nothing left saves nothing for later.
          removeFirst(flows);
          flowByProducer.delete(flow.producer);
          return head.item;
        }
        flow.served = false;
        removeFirst(flows);
        append(flows, flow);
      }
      return undefined;
    },
    get size() {
      return size;
    },
  };
}
