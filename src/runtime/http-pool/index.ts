/**
 * undici's pools and connector without the rest of it. The package's index loads fetch, WebSocket, the
 * cache and the mocks (90 files, 4 MB in every isolate); what a node sends goes through pools only.
 * The parts are files of the package that its documentation does not name: a release may move them,
 * which the first test that sends anything tells.
 */
import type * as Undici from "undici";
import api from "undici/lib/api/index.js";
import buildConnectorPart from "undici/lib/core/connect.js";
import ClientPart from "undici/lib/dispatcher/client.js";
import Dispatcher from "undici/lib/dispatcher/dispatcher.js";
import PoolPart from "undici/lib/dispatcher/pool.js";

// As the index does: `request`, `stream` and `upgrade` are methods of every dispatcher.
Object.assign(Dispatcher.prototype, api);

export const buildConnector = buildConnectorPart;
export const Client = ClientPart;
export const Pool = PoolPart;
export type Client = Undici.Client;
export type Pool = Undici.Pool;
