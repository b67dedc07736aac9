/** Links to servers that fail as a function says: cut before, cut behind, or a request that comes late. */
import {
  serveCoordination,
  type Coordination,
  type ServerLink,
} from "../../src/ledger/applications/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { authenticate } from "./coordination.ts";

/** `late`: the caller is told of a lost link, and the server is asked once `release` resolves. */
export type LinkFault =
  | { readonly state: "closed" | "lose-request" | "lose-answer" }
  | { readonly state: "late"; readonly release: Promise<void> };

export function failingLink(
  node: string,
  coordination: Coordination,
  faultOf: () => LinkFault | undefined,
): ServerLink {
  const handlers = serveCoordination({ coordination, authenticate });
  const never = new AbortController().signal;
  const linkError = (code: "link-closed" | "link-lost") =>
    new SkerryError({ code, message: `injected fault: the link to ${node}`, retryable: true });
  return {
    node,
    async request(_method, body, { signal = never }) {
      const ask = () => handlers.call(body, "spiffe://mill.skerry/node/far", signal);
      const fault = faultOf();
      switch (fault?.state) {
        case undefined:
          return await ask();
        case "closed":
          throw linkError("link-closed");
        case "lose-request":
          throw linkError("link-lost");
        case "lose-answer":
          await ask().catch(refused);
          throw linkError("link-lost");
        case "late":
          fault.release.then(ask).catch(refused);
          throw linkError("link-lost");
      }
    },
    open: (_method, body, { signal = never }) =>
      handlers.stream(body, "spiffe://mill.skerry/node/far", signal),
  };
}

/** What the server refuses is lost with its answer; anything else is a mistake here. */
function refused(error: unknown): undefined {
  if (!(error instanceof SkerryError)) throw error;
  return undefined;
}
