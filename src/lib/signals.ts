/**
 * Typed, synchronous observation points passed in as a dependency: logs, metrics and the healer
 * subscribe, the emitter does not know them. A subscriber that throws never breaks the emitter.
 */
export interface Signals<Events extends Record<string, unknown>> {
  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void;
  /** Returns the function that unsubscribes. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void;
}

export function createSignals<Events extends Record<string, unknown>>(options: {
  onListenerError: (error: unknown, name: keyof Events) => void;
}): Signals<Events> {
  const listenersByName = new Map<keyof Events, Set<(event: never) => void>>();
  return {
    emit(name, event) {
      // A copy: who subscribes from inside a listener hears the next event, not this one.
      const listeners = Array.from(listenersByName.get(name) ?? []);
      for (const listener of listeners) {
        try {
          (listener as (event: unknown) => void)(event);
        } catch (error) {
          options.onListenerError(error, name);
        }
      }
    },
    on(name, listener) {
      const listeners = listenersByName.get(name) ?? new Set();
      listenersByName.set(name, listeners);
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
