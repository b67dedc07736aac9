/**
 * One CellAddress on this node: whether it could be held here, and holding it while the ledger says so.
 * The lease counts from when the question was sent that the ledger answered with this node's name;
 * the kernel is told the same end, so that nothing of ours has to live for the address to go.
 */
import { deadline, type Clock } from "../../lib/clock.ts";
import { explain } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { HostNetwork } from "./host-network.ts";
import { placesOf, type Place, type Placed } from "./place.ts";
import type { AddressPorts, AddressWish } from "./ports.ts";

/** From the sending of a question that was answered well. The leader waits for longer (C22). */
export const cellAddressLeaseMs = 6000;
/** Between questions, while it is held. */
export const tickMs = 1000;
/** A server that is slow to answer has answered all the same; a holder keeps time to decide without it. */
const askMsMax = 2500;
const askMsMin = 300;
/** Less is left of the lease, and no server answered: stay or go is decided now. */
const decideMs = 3000;
/**
 * Ticks after it was taken; later every 30th. A neighbour may miss the first, and the kernel of a frozen
 * holder may answer for as long as the lease it had.
 */
const announceAtTicks = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const announceEveryTicks = 30;
/** Whether another answers for it: often at first, then every tenth. */
const lookAtTicks = [1, 2, 3, 5, 7];
const lookEveryTicks = 10;
/** While it is not held here, interfaces are looked at each so many ticks. */
const idleTicks = 5;

export type TenantDeps = {
  readonly clock: Clock;
  readonly bootTimeMs: () => number;
  readonly log: Log;
  readonly network: HostNetwork;
  readonly ports: AddressPorts;
  readonly canHold: string;
  readonly onConflict: () => void;
};

type Listening = Awaited<ReturnType<AddressPorts["services"][number]["listen"]>>;

export interface Tenant {
  readonly held: boolean;
  wish: AddressWish | undefined;
  /** Looks and acts once. Never runs twice at a time; the caller sees to that. */
  step(options: { tick: boolean }): Promise<void>;
  /** Gives it up, whoever says otherwise. */
  release(why: string): Promise<void>;
}

export function createTenant(deps: TenantDeps, name: string): Tenant {
  const { clock, bootTimeMs, network, ports } = deps;
  const log = deps.log.child({ address: name });
  let wish: AddressWish | undefined;
  let told: string | undefined;
  let places: readonly Place[] = [];
  /** By when the kernel takes it away. */
  let untilBootMs = 0;
  let listeners: Listening[] | undefined;
  let cannotListen: string | undefined;
  let idle = 0;
  let heldTicks = 0;
  let isFirst = true;
  /** The last question was answered with this node's name. */
  let confirmed = false;
  /** Another answers for it, and who is right is not known here. */
  let contested = false;
  /**
   * Since it has no place here any more, an interface without a signal above all: whether a server had
   * answered the question before. Nobody reaches it here then, and who could not ask is not asked for it.
   */
  let lostPlace: { readonly wasConfirmed: boolean } | undefined;
  /** Leaves the question under way no more time than the shortest has. */
  let hurry: (() => void) | undefined;
  /** What was found by the last look, for a holder that is in a hurry. */
  let found: { readonly wish: AddressWish; readonly placed: Placed } | undefined;

  const say = async (word: string) => {
    if (told === word) return;
    await ports.tell({ [name]: word });
    if (word !== deps.canHold) log.warn("this node cannot hold a cell address", { why: word });
    told = word;
  };

  const look = async (current: AddressWish): Promise<Placed> => {
    const because = await network.whyNot();
    if (because !== undefined) return { ok: false, because };
    const interfaces = await network.interfaces();
    const placed = placesOf(interfaces, current);
    if (isFirst && placed.ok) adopt(placed.places, interfaces);
    isFirst = false;
    found = { wish: current, placed };
    return placed;
  };

  /** Just named: every process that is started first is a time without an answer for its clients. */
  const lastLook = (current: AddressWish): Placed | undefined =>
    found?.placed.ok === true &&
    found.wish.interface === current.interface &&
    found.wish.addresses.join() === current.addresses.join()
      ? found.placed
      : undefined;

  /** What an agent before this one held may be here still: it goes on or goes, as if this one had taken it. */
  const adopt = (wanted: readonly Place[], interfaces: Parameters<typeof placesOf>[0]) => {
    const left = wanted.map(({ address }) =>
      interfaces
        .flatMap(({ addresses }) => addresses)
        .find((own) => own.address === address && own.leftSeconds !== undefined),
    );
    const seconds = left.flatMap((own) => own?.leftSeconds ?? []);
    if (seconds.length === 0) return;
    places = wanted;
    untilBootMs = bootTimeMs() + Math.min(...seconds) * 1000;
    log.info("an earlier life of this agent left an address", { seconds });
  };

  const ask = async (): Promise<"here" | "elsewhere" | "silence"> => {
    const heldMs = contested ? 0 : untilBootMs - bootTimeMs() - askMsMin;
    const leftMs = places.length > 0 ? heldMs : askMsMax;
    const limit = deadline(clock, Math.max(askMsMin, Math.min(askMsMax, leftMs)));
    const { signal } = limit;
    const late = new Promise<never>((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      hurry = () => void clock.after(askMsMin, () => reject(new Error("another answers for it")));
    });
    // Nobody may be listening any more when it is late.
    late.catch(() => {});
    try {
      const said = await Promise.race([ports.ask(name, signal), late]);
      return said?.holder === ports.node ? "here" : "elsewhere";
    } catch (error) {
      log.debug("no server said whose the address is", { error });
      return "silence";
    } finally {
      hurry = undefined;
      limit.done();
    }
  };

  /** Until when it may be held after this question. */
  const renewedBootMs = async (): Promise<number> => {
    const sentBootMs = bootTimeMs();
    const answer = await ask();
    confirmed = answer === "here";
    if (confirmed) contested = false;
    if (contested) return 0;
    if (answer === "here") return sentBootMs + cellAddressLeaseMs;
    if (answer === "elsewhere") return 0;
    const isHeld = places.length > 0 && bootTimeMs() < untilBootMs;
    if (!isHeld || untilBootMs - bootTimeMs() > decideMs) return untilBootMs;
    const mayStay = wish?.holder === ports.node && ports.mayStay();
    return mayStay ? bootTimeMs() + cellAddressLeaseMs : untilBootMs;
  };

  const listen = async () => {
    if (listeners) return;
    const open: Listening[] = [];
    cannotListen = undefined;
    const wanted = ports.services.flatMap((service) =>
      places.map(async ({ address }) => {
        try {
          open.push(await service.listen(address));
        } catch (error) {
          cannotListen = `${service.name}: ${explain(error)}`;
        }
      }),
    );
    await Promise.all(wanted);
    if (cannotListen === undefined) listeners = open;
    // Tried again at the next step, from the beginning.
    else await close(open);
  };

  /** Whatever becomes of a listener: the address has to go. */
  const close = async (open: readonly Listening[]) => {
    for (const one of open) {
      try {
        await one.close();
      } catch (error) {
        log.info("a listener could not be closed", { error });
      }
    }
  };

  const hold = async (wanted: readonly Place[], until: number) => {
    const isNew = places.length === 0 || heldTicks === 0;
    if (places.length > 0 && !isSame(places, wanted)) await release("its place has changed");
    places = wanted;
    for (const place of wanted) {
      const leftMs = until - bootTimeMs();
      // This machine may have stood still since it was asked.
      if (leftMs <= 0) return release("its lease is over");
      await network.give(place, leftMs);
    }
    // The command may have stood still half-way, and has now given what is another's.
    if (bootTimeMs() >= until) return release("its lease is over");
    untilBootMs = until;
    await listen();
    if (isNew) log.info("this node holds a cell address now", { addresses: wanted.map(textOf) });
    const at = (ticks: readonly number[], period: number) =>
      ticks.includes(heldTicks) || (heldTicks > 0 && heldTicks % period === 0);
    if (at(announceAtTicks, announceEveryTicks)) await announce();
    if (!confirmed || at(lookAtTicks, lookEveryTicks)) void lookForOthers(wanted);
    heldTicks++;
  };

  const announce = async () => {
    try {
      await network.announce(places);
    } catch (error) {
      log.warn("neighbours were not told whose the address is", { error });
    }
  };

  const lookForOthers = async (wanted: readonly Place[]) => {
    try {
      const found = (await Promise.all(wanted.map((place) => network.others(place)))).flat();
      if (found.length === 0 || !isSame(places, wanted)) return;
      log.warn("another machine answers for an address held here", { others: found });
      // Whoever cannot ask is not the one to insist.
      contested = !confirmed;
      if (contested) hurry?.();
      deps.onConflict();
      if (confirmed) await announce();
    } catch (error) {
      log.warn("who else answers for the address is not known", { error });
    }
  };

  const release = async (why: string) => {
    if (places.length === 0) return;
    log.info("this node holds a cell address no more", { addresses: places.map(textOf), why });
    const open = listeners ?? [];
    listeners = undefined;
    // Clients are told while their answers still have a way: a reset is sooner than silence.
    await close(open);
    for (const place of places) await network.take(place);
    places = [];
    untilBootMs = 0;
    heldTicks = 0;
    contested = false;
  };

  return {
    get held() {
      return places.length > 0;
    },
    get wish() {
      return wish;
    },
    set wish(next) {
      wish = next;
    },
    release,
    async step({ tick }) {
      const isHeld = places.length > 0;
      if (!wish) return release("it is no address of the cell any more");
      const isNamed = wish.holder === ports.node;
      if (!isHeld && !isNamed && tick && ++idle % idleTicks !== 0) return;
      const isTaking = isNamed && !isHeld && !tick;
      const placed = (isTaking ? lastLook(wish) : undefined) ?? (await look(wish));
      const problem = ports.notReady() ?? (placed.ok ? cannotListen : placed.because);
      const saying = say(problem ?? deps.canHold).catch((error: unknown) =>
        log.debug("the cell was not told whether an address could be held here", { error }),
      );
      if (isNamed || places.length > 0) {
        lostPlace = placed.ok ? undefined : (lostPlace ?? { wasConfirmed: confirmed });
        const until = await renewedBootMs();
        if (bootTimeMs() >= until)
          await release(until === 0 ? "it is another's" : "its lease is over");
        else if (placed.ok) await hold(placed.places, until);
        // Back without having asked, it would answer beside whoever was given it meanwhile.
        else if ((lostPlace?.wasConfirmed && !confirmed) || bootTimeMs() >= untilBootMs)
          await release(placed.because);
      }
      await saying;
    },
  };
}

const textOf = ({ address, interface: name }: Place) => `${address} on ${name}`;

function isSame(a: readonly Place[], b: readonly Place[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
