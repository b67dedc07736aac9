/** Many cells and their hub: what the hub knows of them, and what it tells them. */
export { decodeHubHeard, encodeHubHeard, type HubHeard } from "./heard.ts";
export { createCellBook, type CellBook, type EnrolledCell } from "./hub/cells.ts";
