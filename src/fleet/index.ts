/** The hub's side of many cells. */
export { createCellBook, type CellBook, type EnrolledCell } from "./hub/cells.ts";
