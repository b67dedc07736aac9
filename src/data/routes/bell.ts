/** Rings may come before or while somebody waits; one wait hears of all that came since the last. */
export type Bell = { ring(): void; heard(): Promise<void> };

export function createBell(): Bell {
  let rung = false;
  let wake: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      wake?.();
    },
    async heard() {
      if (!rung)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      rung = false;
      wake = undefined;
    },
  };
}
