/**
 * Work that goes on beside what follows and is awaited later. Should what follows fail first, nobody
 * awaits it any more: its own failure then says nothing new, and does not end the process.
 */
export function alongside<T>(work: Promise<T>): Promise<T> {
  work.catch(() => undefined);
  return work;
}
