/** What of the dead letters outlives the agent, alone: for the thread that holds it. */
export { openDeadLetterFile, type DeadLetterFile } from "./sqlite.ts";
export {
  connectDeadLetterStore,
  serveDeadLetterStore,
  type DeadLetterMethods,
  type DeadLetterStore,
  type LetterBatch,
  type SavedLetter,
} from "./state.ts";
