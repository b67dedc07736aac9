import type { HttpReply } from "../../runtime/http/index.ts";

/** Once the client of this answer has gone; at once if it went before anybody asked, for that is told once. */
export function whenClosed({ raw }: HttpReply, listener: () => void): void {
  if (raw.closed) listener();
  else raw.once("close", listener);
}
