/**
 * undici's pools and connector without the rest of it. The package's index loads fetch, WebSocket, the
 * cache and the mocks (90 files, 4 MB in every isolate); what a node sends goes through pools only.
 * The parts are files of the package that its documentation does not name, so a release that moves
 * them costs the memory, not the function: then the index is loaded.
 */
import { createRequire } from "node:module";
import type * as Undici from "undici";
import { systemCode } from "../../lib/errors.ts";

type Parts = Pick<typeof Undici, "buildConnector" | "Client" | "Pool">;

const load = createRequire(import.meta.url);

function loadParts(): Parts {
  try {
    const Dispatcher = load("undici/lib/dispatcher/dispatcher.js") as typeof Undici.Dispatcher;
    // As the index does: `request`, `stream` and `upgrade` are methods of every dispatcher.
    Object.assign(Dispatcher.prototype, load("undici/lib/api/index.js"));
    return {
      buildConnector: load("undici/lib/core/connect.js") as Parts["buildConnector"],
      Client: load("undici/lib/dispatcher/client.js") as Parts["Client"],
      Pool: load("undici/lib/dispatcher/pool.js") as Parts["Pool"],
    };
  } catch (error) {
    if (systemCode(error) !== "MODULE_NOT_FOUND") throw error;
    return load("undici") as Parts;
  }
}

export const { buildConnector, Client, Pool } = loadParts();
export type Client = Undici.Client;
export type Pool = Undici.Pool;
