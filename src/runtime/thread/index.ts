/** Worker threads: typed requests and events, and those that run only while they are needed. */
export { createOnDemandThread, type OnDemandThread } from "./on-demand.ts";
export {
  serveThread,
  startThread,
  threadData,
  type Thread,
  type ThreadEvents,
  type ThreadHost,
  type ThreadMethods,
} from "./thread.ts";
