/** Why a live query is not opened, or is over. */
import { SkerryError } from "../../lib/errors.ts";

export const ended = (): SkerryError =>
  new SkerryError({ code: "closed", message: "queries ended here", retryable: true });

export const tooMany = (livesMax: number): SkerryError =>
  new SkerryError({
    code: "store-busy",
    message: `${livesMax} live queries are open on this node`,
    hint: "close some, or ask another node",
    retryable: true,
  });

export const removed = (collection: string): SkerryError =>
  new SkerryError({
    code: "collection-unknown",
    message: `the Collection "${collection}" was removed`,
    hint: "its documents stay, and can be queried while they do",
  });
