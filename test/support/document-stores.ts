/** Every DocumentStore that the contract suites are run against: in place, and across a thread. */
import { join } from "node:path";
import {
  connectDocumentStore,
  encodeLeaving,
  encodeLeavingSnapshot,
  serveDocumentStore,
  type DocumentMethods,
  type DocumentsGrown,
  type DocumentStore,
} from "../../src/data/index.ts";
import { decodeError, encodeError } from "../../src/lib/errors.ts";
import { silentLog } from "../../src/lib/log.ts";
import { createOperationGate } from "../../src/privacy/gate/index.ts";
import { temporaryFolder } from "./data.ts";
import { items, notes, openDocuments } from "./documents.ts";

/** As a thread carries it: everything is cloned, errors go through the codec. */
async function acrossThread(path: string, node = "n1"): Promise<DocumentStore> {
  const listeners = new Set<(grown: DocumentsGrown) => void>();
  const store = await openDocuments(path, node);
  const gate = createOperationGate({
    encode: encodeLeaving,
    encodeSnapshot: encodeLeavingSnapshot,
    log: silentLog,
  });
  const methods = serveDocumentStore({ store, gate }, (_name, grown) => {
    for (const listener of listeners) listener(structuredClone(grown));
  });
  const call = async (name: keyof DocumentMethods, argument: never) => {
    try {
      return structuredClone(await methods[name](structuredClone(argument)));
    } catch (error) {
      throw decodeError(structuredClone(encodeError(error)));
    }
  };
  const on = (_name: string, listener: (grown: DocumentsGrown) => void) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };
  const thread = { call, on } as unknown as Parameters<typeof connectDocumentStore>[0];
  const connected = connectDocumentStore(thread, { node });
  await connected.declare([items, notes]);
  return connected;
}

type Run = (...stores: DocumentStore[]) => Promise<void>;

/** `withStores`: a test on as many stores as `run` takes. */
export const documentStores = (
  [
    ["sqlite", openDocuments],
    ["across a thread", acrossThread],
  ] as const
).map(([name, open]) => ({
  name,
  withStores: (run: Run) => async (): Promise<void> => {
    using folder = temporaryFolder();
    const stores: DocumentStore[] = [];
    for (let index = 0; index < run.length; index++)
      stores.push(await open(join(folder.path, `${index}.db`), `n${index + 1}`));
    await run(...stores);
    for (const store of stores) await store.close();
  },
}));
