/**
 * One live query as its reader sees it: events in order, each with an id; the last few are kept, so
 * that a reader that lost its connection goes on behind the last one it has, with nothing missing and
 * nothing twice. A reader asks for the next event when it has taken the last one.
 */

export type LiveEvent = {
  /** `resumed`: goes on where it was. `beat`: there was nothing for a while. */
  readonly event: "result" | "changes" | "reset" | "resumed" | "end" | "beat";
  /** Names the place behind it. */
  readonly id: string;
  /** One line of JSON. */
  readonly data: string;
};

export interface LiveReader {
  /** Undefined: it is over, or another reader took over. One call at a time. */
  next(): Promise<LiveEvent | undefined>;
  /** Nobody reads any more; for a while it can be resumed. */
  leave(): void;
}

export interface Subscription {
  /** Somebody waits for the next event. */
  readonly isAwaited: boolean;
  /** For the reader that waits, the one to come, or one that comes back. */
  deliver(event: LiveEvent["event"], data: string): void;
  /** To a reader that has waited since the last call, that there is nothing. */
  beat(): void;
  /** Takes the place of the reader before. */
  read(): LiveReader;
  /** The same behind an event; undefined: what came behind it is not kept any more. */
  resume(sequence: number): LiveReader | undefined;
  /** After what was delivered. */
  end(): void;
}

const keptEventsMax = 16;
const keptBytesMax = 64 * 1024;

type Reader = {
  readonly queue: LiveEvent[];
  wake?: ((event: LiveEvent | undefined) => void) | undefined;
  isOver: boolean;
  hadBeat: boolean;
};

export function createSubscription(options: {
  readonly token: string;
  /** A reader begins to wait. */
  onAwaited(): void;
  onLeft(): void;
}): Subscription {
  const { token } = options;
  const kept: { readonly sequence: number; readonly event: LiveEvent }[] = [];
  let keptBytes = 0;
  let sequence = 0;
  let reader: Reader | undefined;

  const keep = (event: LiveEvent) => {
    kept.push({ sequence, event });
    keptBytes += event.data.length;
    while (kept.length > keptEventsMax || keptBytes > keptBytesMax)
      keptBytes -= kept.shift()?.event.data.length ?? 0;
  };
  const hand = (event: LiveEvent) => {
    const wake = reader?.wake;
    if (!wake) return void reader?.queue.push(event);
    wake(event);
  };
  /** Another reader, or none, goes on: with what is kept. */
  const dismiss = () => {
    reader?.queue.splice(0);
    retire();
  };
  const retire = () => {
    if (!reader) return;
    reader.isOver = true;
    reader.wake?.(undefined);
    reader = undefined;
  };
  const read = (queue: LiveEvent[]): LiveReader => {
    dismiss();
    const own: Reader = { queue, isOver: false, hadBeat: false };
    reader = own;
    return {
      async next() {
        const queued = own.queue.shift();
        if (queued || own.isOver) return queued;
        const event = new Promise<LiveEvent | undefined>((resolve) => {
          own.hadBeat = false;
          own.wake = (woken) => {
            own.wake = undefined;
            resolve(woken);
          };
        });
        options.onAwaited();
        return event;
      },
      leave() {
        if (own.isOver) return;
        dismiss();
        options.onLeft();
      },
    };
  };

  return {
    get isAwaited() {
      return reader?.wake !== undefined;
    },
    deliver(name, data) {
      const event = { event: name, id: `${token}.${++sequence}`, data };
      keep(event);
      hand(event);
    },
    beat() {
      if (reader?.wake && reader.hadBeat)
        reader.wake({ event: "beat", id: `${token}.${sequence}`, data: "{}" });
      else if (reader) reader.hadBeat = true;
    },
    read: () => read([]),
    resume(behind) {
      const [first = { sequence: sequence + 1 }] = kept;
      if (behind > sequence || behind + 1 < first.sequence) return undefined;
      const missed = kept.filter((one) => one.sequence > behind).map(({ event }) => event);
      return read([{ event: "resumed", id: `${token}.${behind}`, data: "{}" }, ...missed]);
    },
    end: retire,
  };
}
