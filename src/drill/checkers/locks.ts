/**
 * Mutual exclusion of locks with fencing tokens. Three things must hold, each by itself:
 *  - a lock acquired later has a greater token, and no token is given twice;
 *  - nobody may prove to hold a lock while another can (a holder's proof ends when it lets go, or
 *    when its lease may have run out by its own clock);
 *  - once a token was acknowledged, or a write under it was, no write called later under an older
 *    token is accepted. This is what covers a paused holder, which no timer does.
 */

/** Times are points on one line, shared by all clients. */
export type Hold = {
  readonly client: number;
  readonly lock: string;
  readonly token: number;
  /** When it asked for the lock, and when it heard that it has it. */
  readonly calledAt: number;
  readonly answeredAt: number;
  /** The last moment at which it could prove to be the holder. */
  readonly provedUntil: number;
};

export type GuardedWrite = {
  readonly client: number;
  readonly lock: string;
  readonly token: number;
  readonly calledAt: number;
  readonly answeredAt: number | undefined;
  readonly outcome: "done" | "refused" | "unknown";
  /** At which the ledger applied it. */
  readonly revision?: number;
};

export type LockFinding = {
  readonly lock: string;
  readonly what: "token-not-greater" | "two-holders" | "older-token-accepted";
  readonly text: string;
};

export function checkLocks(history: {
  readonly holds: readonly Hold[];
  readonly writes: readonly GuardedWrite[];
}): LockFinding[] {
  const locks = new Set([...history.holds, ...history.writes].map(({ lock }) => lock));
  return [...locks].flatMap((lock) => {
    const holds = history.holds.filter((hold) => hold.lock === lock);
    const accepted = history.writes.filter(
      (write) => write.lock === lock && write.outcome === "done",
    );
    return [
      ...tokensThatDidNotGrow(holds),
      ...holdersAtOnce(holds),
      ...acceptedTooLate(holds, accepted),
      ...acceptedOutOfOrder(accepted),
    ].map(({ what, text }) => ({ lock, what, text }));
  });
}

type Found = Omit<LockFinding, "lock">;

function tokensThatDidNotGrow(holds: readonly Hold[]): Found[] {
  const answered = holds.toSorted((a, b) => a.answeredAt - b.answeredAt);
  const found: Found[] = [];
  let index = 0;
  let greatest: Hold | undefined;
  for (const hold of holds.toSorted((a, b) => a.calledAt - b.calledAt)) {
    for (let before = answered[index]; before && before.answeredAt < hold.calledAt;) {
      if (!greatest || before.token > greatest.token) greatest = before;
      before = answered[++index];
    }
    if (greatest && hold.token <= greatest.token)
      found.push({
        what: "token-not-greater",
        text: `${who(hold)} asked after ${who(greatest)} had it`,
      });
  }
  const byToken = Map.groupBy(holds, ({ token }) => token);
  for (const [first, second] of byToken.values())
    if (first && second && first.client !== second.client)
      found.push({
        what: "token-not-greater",
        text: `${who(first)} and ${who(second)}: one token`,
      });
  return found;
}

function holdersAtOnce(holds: readonly Hold[]): Found[] {
  const found: Found[] = [];
  let last: Hold | undefined;
  // Who was told so late that its lease may have been over never claimed the lock.
  const claimed = holds.filter(({ answeredAt, provedUntil }) => provedUntil > answeredAt);
  for (const hold of claimed.sort((a, b) => a.answeredAt - b.answeredAt)) {
    if (last && hold.answeredAt < last.provedUntil)
      found.push({
        what: "two-holders",
        text: `${who(last)} until ${at(last.provedUntil)}, and ${who(hold)} from ${at(hold.answeredAt)}`,
      });
    if (!last || hold.provedUntil > last.provedUntil) last = hold;
  }
  return found;
}

/** By time: what was known to somebody must bind all that is called later. */
function acceptedTooLate(holds: readonly Hold[], accepted: readonly GuardedWrite[]): Found[] {
  type Known = { readonly token: number; readonly knownAt: number; readonly text: string };
  const known: Known[] = [
    ...holds.map((hold) => ({
      token: hold.token,
      knownAt: hold.answeredAt,
      text: `${who(hold)} had it`,
    })),
    ...accepted.map((write) => ({
      token: write.token,
      knownAt: write.answeredAt ?? Infinity,
      text: `a write of ${who(write)} was accepted`,
    })),
  ].sort((a, b) => a.knownAt - b.knownAt);
  const found: Found[] = [];
  let index = 0;
  let greatest: Known | undefined;
  for (const write of accepted.toSorted((a, b) => a.calledAt - b.calledAt)) {
    for (let one = known[index]; one && one.knownAt < write.calledAt; one = known[++index])
      if (!greatest || one.token > greatest.token) greatest = one;
    if (greatest && write.token < greatest.token)
      found.push({
        what: "older-token-accepted",
        text: `a write of ${who(write)}, called at ${at(write.calledAt)}, after ${greatest.text} at ${at(greatest.knownAt)}`,
      });
  }
  return found;
}

/** By the ledger's own order, which also orders writes that overlapped in time. */
function acceptedOutOfOrder(accepted: readonly GuardedWrite[]): Found[] {
  const found: Found[] = [];
  let greatest: GuardedWrite | undefined;
  const ordered = accepted
    .filter(({ revision }) => revision !== undefined)
    .sort((a, b) => (a.revision ?? 0) - (b.revision ?? 0));
  for (const write of ordered) {
    if (greatest && write.token < greatest.token)
      found.push({
        what: "older-token-accepted",
        text: `a write of ${who(write)} at revision ${write.revision}, after one of ${who(greatest)} at ${greatest.revision}`,
      });
    if (!greatest || write.token > greatest.token) greatest = write;
  }
  return found;
}

const who = ({ client, token }: { client: number; token: number }) =>
  `client ${client} with token ${token}`;
const at = (time: number) => time.toFixed(1);
