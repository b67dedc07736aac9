/**
 * Generations of a cell's history. A restored or recovered ledger goes on this many revisions further
 * than any before it (and than any lost member can have been ahead), so that the revision alone tells from which history something is.
 */
export const historyJump = 2 ** 32;

/** 0 for the first history of a cell, one more for each that was put in the place of another. */
export const generationOf = (revision: number): number => Math.floor(revision / historyJump);
