/**
 * `node:http` without what it drags along: an ES import of it reads every export, its lazy `WebSocket`
 * and its like among them, and so loads Node's own copy of undici. That costs each isolate about 6 MB;
 * the module itself costs 1 MB.
 */
export const { createServer, request, STATUS_CODES } = process.getBuiltinModule("node:http");
