/** The hub of a simulated cell: its real store on a disk whose power can go at any write. */
import { openGlobalStore, registerGlobalStore, type GlobalStore } from "../../../data/index.ts";
import type { Clock } from "../../../lib/clock.ts";
import { silentLog } from "../../../lib/log.ts";
import type { Random } from "../../../lib/random.ts";
import { createRecheck } from "../../../privacy/gate/index.ts";
import { createDiskPower, type DiskPower } from "./disk-power.ts";
import { virtualRouter, type VirtualRouter } from "./links.ts";

export const hubName = "hub";

export type StreamsHub = {
  readonly name: typeof hubName;
  readonly router: VirtualRouter;
  /** Another one after each start. */
  readonly store: GlobalStore;
  readonly up: boolean;
  readonly power: DiskPower;
  start(options?: { cutAfter?: number }): Promise<void>;
  /** Resolves when its files are what the power left of them. */
  crash(): Promise<void>;
  stop(): Promise<void>;
};

export async function createStreamsHub(
  deps: { clock: Clock; fork: () => Random },
  options: {
    readonly path: string;
    /** Nobody hears of it any more; called in a write. */
    readonly onCut: () => void;
    /** It can be read until this is done. */
    readonly onDown: (hub: StreamsHub) => Promise<void>;
    readonly spoil: (store: GlobalStore) => void;
  },
): Promise<StreamsHub> {
  const { path } = options;
  const router = virtualRouter();
  let store: GlobalStore;
  let power: DiskPower;
  let up = false;
  let down: Promise<void> | undefined;

  const fall = () => {
    if (!up) return;
    up = false;
    options.onCut();
    down = (async () => {
      // Until then the statement is under way that the power went in.
      await new Promise((resolve) => setImmediate(resolve));
      await options.onDown(hub);
      await store.close();
      power.restore();
    })();
  };

  const hub: StreamsHub = {
    name: hubName,
    router,
    get store() {
      return store;
    },
    get up() {
      return up;
    },
    get power() {
      return power;
    },
    async start({ cutAfter } = {}) {
      if (up) return;
      await down;
      const own = createDiskPower(path, fall);
      own.cutAfter(cutAfter);
      try {
        store = openGlobalStore(
          {
            ...{ clock: deps.clock, random: deps.fork(), log: silentLog },
            ...{ recheck: createRecheck(), openFile: own.openFile },
          },
          { path },
        );
      } catch (error) {
        if (!own.isOut) throw error;
        return own.restore();
      }
      power = own;
      options.spoil(store);
      registerGlobalStore(router, store, (peer) => peer.trustDomain.split(".")[0]);
      up = true;
    },
    async crash() {
      if (up) power.cut();
      await down;
    },
    async stop() {
      await down;
      if (up) await store.close();
    },
  };
  await hub.start();
  return hub;
}
