/** A thread that is started by the first call, and ended when nobody needed it for a while. */
import type { Clock, Timer } from "../../lib/clock.ts";
import { SkerryError } from "../../lib/errors.ts";
import type { Thread, ThreadMethods } from "./thread.ts";

export interface OnDemandThread<Methods extends ThreadMethods> {
  /** `work` with the thread, which is started where there is none. Throws `closed` once it was stopped. */
  use<T>(work: (thread: Thread<Methods>) => Promise<T>): Promise<T>;
  /** The thread that runs, or is starting; starts none. */
  readonly running: Promise<Thread<Methods>> | undefined;
  /** Whether it is needed has changed. */
  rest(): void;
  stop(): Promise<void>;
}

export function createOnDemandThread<Methods extends ThreadMethods>(
  { clock }: { readonly clock: Clock },
  options: {
    /** What ends here, in words. */
    readonly what: string;
    readonly start: () => Promise<Thread<Methods>>;
    readonly idleMs: number;
    /** Whether it is to be kept between calls. Default: it is not. */
    readonly isNeeded?: () => boolean;
  },
): OnDemandThread<Methods> {
  const { what, start, idleMs, isNeeded = () => false } = options;
  let running: Promise<Thread<Methods>> | undefined;
  let working = 0;
  let idle: Timer | undefined;
  let isStopped = false;

  const started = (): Promise<Thread<Methods>> => {
    if (isStopped)
      throw new SkerryError({ code: "closed", message: `${what} ended here`, retryable: true });
    if (running) return running;
    const starting = start();
    running = starting;
    const forget = () => {
      if (running === starting) running = undefined;
    };
    starting.then(({ ended }) => ended).then(forget, forget);
    return starting;
  };
  const end = async (): Promise<void> => {
    idle?.cancel();
    const ending = running;
    running = undefined;
    await (await ending)?.terminate();
  };
  const rest = () => {
    idle?.cancel();
    if (working === 0 && !isStopped && !isNeeded()) idle = clock.after(idleMs, () => void end());
  };

  return {
    async use(work) {
      idle?.cancel();
      working++;
      try {
        return await work(await started());
      } finally {
        working--;
        rest();
      }
    },
    get running() {
      return running;
    },
    rest,
    async stop() {
      isStopped = true;
      await end();
    },
  };
}
