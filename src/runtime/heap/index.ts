export { mallocEnvironment } from "./malloc.ts";
export { settleHeap, settleOwnHeap, type HeapDeps } from "./settle.ts";
