/**
 * How many retries there may be: a share of the requests of the last seconds and a small floor, so
 * that few requests may all be retried and an overload is not multiplied (after Finagle's
 * RetryBudget). Counted in slots of a tenth of the window.
 */
import type { Clock } from "../lib/clock.ts";

export type RetryBudgetOptions = {
  /** Retries per request of the window. Default 0.2. */
  readonly share?: number;
  /** Allowed in every window whatever the requests. Default 100 (ten a second). */
  readonly floor?: number;
  /** Default 10 s. */
  readonly windowMs?: number;
};

export interface RetryBudget {
  /** A client's request came. */
  request(): void;
  /** Whether one more retry may be made now. */
  readonly hasLeft: boolean;
  /** Takes one; false when there is none left. */
  take(): boolean;
}

const slotCount = 10;

export function createRetryBudget(
  deps: { clock: Clock },
  options: RetryBudgetOptions = {},
): RetryBudget {
  const { share = 0.2, floor = 100, windowMs = 10_000 } = options;
  const requests = Array.from({ length: slotCount }, () => 0);
  const retries = Array.from({ length: slotCount }, () => 0);
  let slot = -1;
  let requestsSum = 0;
  let retriesSum = 0;

  /** Moves to the slot of now; what is older than the window falls out. */
  const here = (): number => {
    const current = Math.floor((deps.clock.monotonicMs() * slotCount) / windowMs);
    const passed = slot < 0 ? 0 : Math.min(slotCount, current - slot);
    for (let step = 1; step <= passed; step++) {
      const index = (slot + step) % slotCount;
      requestsSum -= requests[index] ?? 0;
      retriesSum -= retries[index] ?? 0;
      requests[index] = 0;
      retries[index] = 0;
    }
    slot = current;
    return current % slotCount;
  };
  const isLeft = () => retriesSum + 1 <= requestsSum * share + floor;

  return {
    request() {
      const index = here();
      requests[index] = (requests[index] ?? 0) + 1;
      requestsSum++;
    },
    get hasLeft() {
      here();
      return isLeft();
    },
    take() {
      const index = here();
      if (!isLeft()) return false;
      retries[index] = (retries[index] ?? 0) + 1;
      retriesSum++;
      return true;
    },
  };
}
