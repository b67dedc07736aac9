/** Waiting for one listener until something happened; what happened before it began to wait is not missed. */
export interface Bell {
  /** How often it rang. */
  readonly rung: number;
  ring(): void;
  /** Resolves when it has rung since `seen`. */
  after(seen: number): Promise<void>;
}

export function createBell(): Bell {
  let rung = 0;
  let wake: (() => void) | undefined;
  return {
    get rung() {
      return rung;
    },
    ring() {
      rung++;
      wake?.();
      wake = undefined;
    },
    async after(seen) {
      if (rung !== seen) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    },
  };
}
