import { join } from "node:path";
import { kinds } from "../../src/api/index.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { silentLog } from "../../src/lib/log.ts";
import {
  createMirror,
  openMirrorStore,
  type Mirror,
  type Resources,
} from "../../src/resources/index.ts";
import { systemClock } from "../../src/runtime/clock/index.ts";
import { openLedgerResources } from "../support/resources.ts";
import { resourcesContract } from "./resources.ts";

resourcesContract("mirror", async () => {
  const fixture = await openLedgerResources();
  const deps = { clock: systemClock, random: seededRandom(3), log: silentLog };
  const store = openMirrorStore(deps, { path: join(fixture.folder, "mirror.db") });
  const start = async (): Promise<Mirror> => {
    const mirror = createMirror(
      { ...deps, upstream: fixture.resources, store },
      { scopes: kinds.map((kind) => ({ kind })) },
    );
    await mirror.start();
    await mirror.whenSynced();
    return mirror;
  };
  let mirror = await start();
  const resources: Resources = {
    get: (kind, key, options) => mirror.get(kind, key, options),
    list: (kind, options) => mirror.list(kind, options),
    watch: (kind, options) => mirror.watch(kind, options),
    create: (kind, object, options) => mirror.create(kind, object, options),
    update: (kind, object, options) => mirror.update(kind, object, options),
    patch: (kind, key, patch, options) => mirror.patch(kind, key, patch, options),
    delete: (kind, key, options) => mirror.delete(kind, key, options),
  };
  return {
    resources,
    async compact() {
      // A mirror forgets the changes it told when it starts anew.
      await mirror.stop();
      mirror = await start();
    },
    async [Symbol.asyncDispose]() {
      await mirror.stop();
      await store.close();
      await fixture[Symbol.asyncDispose]();
    },
  };
});
