/**
 * What waits to be written to a link. Control frames (pings, errors, credits) go first; bodies wait
 * in three classes, one frame at a time in turn, so that a large body holds up nobody of its class.
 * A higher class goes first, but after 32 frames in a row a lower one gets a turn: nothing starves.
 */
import type { Priority } from "./frames.ts";

export interface Source {
  /** The next frame; undefined when there is none left. */
  next(): { readonly frame: Uint8Array; readonly isLast: boolean } | undefined;
  /** The link is gone: nothing more will be asked for. */
  abandon(): void;
}

/** What of a socket the outbox needs. */
export type Sink = {
  write(bytes: Uint8Array): boolean;
  cork(): void;
  uncork(): void;
  readonly writableLength: number;
};

export interface Outbox {
  /** False when too many wait already: the peer does not read. */
  control(frame: Uint8Array): boolean;
  add(priority: Priority, source: Source): void;
  /** Call when the socket has drained. */
  drained(): void;
  /** Forgets everything. */
  close(): void;
  readonly waiting: number;
}

/** Bytes handed to the socket before waiting for it to drain. */
const socketBytesMax = 256 * 1024;
const controlFramesMax = 1024;
const framesInARow = 32;

export function createOutbox(sink: Sink): Outbox {
  const controls: Uint8Array[] = [];
  const classes: [Source[], Source[], Source[]] = [[], [], []];
  const priorityBySource = new WeakMap<Source, Priority>();
  let inARow = 0;
  let isClosed = false;

  const nextSource = (): Source | undefined => {
    const filled = classes.filter((sources) => sources.length > 0);
    const isLowersTurn = filled.length > 1 && inARow >= framesInARow;
    inARow = isLowersTurn || filled.length < 2 ? 0 : inARow + 1;
    return (isLowersTurn ? filled[1] : filled[0])?.shift();
  };

  const nextFrame = (): Uint8Array | undefined => {
    const control = controls.shift();
    if (control) return control;
    for (let source = nextSource(); source; source = nextSource()) {
      const priority = priorityBySource.get(source) ?? 1;
      const step = source.next();
      if (!step) continue;
      if (!step.isLast) classes[priority].push(source);
      return step.frame;
    }
    return undefined;
  };

  const pump = () => {
    if (isClosed || sink.writableLength >= socketBytesMax) return;
    sink.cork();
    for (let frame = nextFrame(); frame; frame = nextFrame()) {
      sink.write(frame);
      if (sink.writableLength >= socketBytesMax) break;
    }
    sink.uncork();
  };

  return {
    control(frame) {
      if (isClosed) return true;
      if (controls.length >= controlFramesMax) return false;
      controls.push(frame);
      pump();
      return true;
    },
    add(priority, source) {
      if (isClosed) return source.abandon();
      priorityBySource.set(source, priority);
      classes[priority].push(source);
      pump();
    },
    drained: pump,
    close() {
      isClosed = true;
      controls.length = 0;
      for (const sources of classes) for (const source of sources.splice(0)) source.abandon();
    },
    get waiting() {
      return controls.length + classes.reduce((sum, sources) => sum + sources.length, 0);
    },
  };
}
