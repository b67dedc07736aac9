/**
 * Which fields a change of a path concerns: the one there, and those below it. Most have none below, and
 * to look through all fields for every change would cost a document of many fields the square of them.
 */
import { ancestorsOf, isWithin } from "./pointer.ts";
import { emptyCell, type Cell, type DocumentState } from "./state.ts";

type Cells = DocumentState["cells"];

/** Paths that some cell stands, or stood, below; made when first asked for, of states that are edited. */
const aboveByCells = new WeakMap<Cells, Set<string>>();

/** In the order of the state; those at and below a path. */
export function cellsWithin(cells: Cells, path: string): readonly (readonly [string, Cell])[] {
  if (path !== "" && !aboveOf(cells).has(path)) {
    const cell = cells.get(path);
    return cell ? [[path, cell]] : [];
  }
  return [...cells].filter(([at]) => isWithin(at, path));
}

/** The one at this path, made when there is none. No other way leads into a state that is edited. */
export function cellAt(cells: Cells, path: string): Cell {
  const known = cells.get(path);
  if (known) return known;
  const cell = emptyCell();
  cells.set(path, cell);
  const above = aboveByCells.get(cells);
  if (above) for (const ancestor of ancestorsOf(path)) above.add(ancestor);
  return cell;
}

function aboveOf(cells: Cells): ReadonlySet<string> {
  const known = aboveByCells.get(cells);
  if (known) return known;
  const above = new Set<string>();
  for (const path of cells.keys()) for (const ancestor of ancestorsOf(path)) above.add(ancestor);
  aboveByCells.set(cells, above);
  return above;
}
