/** Handlers by method name, shared by every link of a listener or dialler. */
import type { Handler, Router } from "./transport.ts";

export type HandlerRouter = Router & { find(method: string): Handler | undefined };

/** `handle` throws RangeError for a method that has its handler already: two rooms claim one name. */
export function createRouter(): HandlerRouter {
  const handlersByMethod = new Map<string, Handler>();
  return {
    handle(method, handler) {
      if (handlersByMethod.has(method)) throw new RangeError(`${method} is handled twice`);
      handlersByMethod.set(method, handler);
    },
    find: (method) => handlersByMethod.get(method),
  };
}
