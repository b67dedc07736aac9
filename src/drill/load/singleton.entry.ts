/**
 * An application of which only one may run, as a pod: it shows that it runs by a beat every few
 * milliseconds, and writes under the fencing token of a lock all the time. It never asks whether it
 * may: stopping it is the cell's affair, and refusing what it writes nevertheless the ledger's.
 */
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hostMonotonicMs, systemClock as clock } from "../../runtime/clock/index.ts";
import { environment } from "../../runtime/process/index.ts";
import { createCoordinationHttp } from "./coordination-http.ts";
import { singletonFile, type SingletonLine } from "./singleton.ts";

const beatMs = 20;
const writeEveryMs = 100;
const timeoutMs = 2000;
const sessionTtlMs = 2000;
const lock = "singleton";

const variable = (name: string) => environment[name] ?? "";
const path = join(
  variable("SINGLETON_DIR"),
  singletonFile(variable("NODE_NAME"), variable("POD_NAME")),
);
const note = (line: SingletonLine) => appendFileSync(path, `${JSON.stringify(line)}\n`);
const cell = createCoordinationHttp({
  gateway: variable("SKERRY_GATEWAY"),
  token: readFileSync(variable("SKERRY_TOKEN_FILE"), "utf8").trim(),
  timeoutMs,
  clock,
});

process.on("SIGTERM", () => process.exit(0));
await Promise.all([beat(), work()]);

async function beat(): Promise<void> {
  for (;;) {
    note({ line: "beat", atMs: hostMonotonicMs() });
    await clock.sleep(beatMs);
  }
}

async function work(): Promise<void> {
  for (let turn = 0; ; turn++) {
    const opened = await cell.openSession(sessionTtlMs);
    if (opened.state === "done") await hold(opened.session, `${variable("POD_NAME")}.${turn}`);
    await clock.sleep(writeEveryMs);
  }
}

/** Until the lock has passed on, whatever became of the session. */
async function hold(session: string, id: string): Promise<void> {
  const calledAt = hostMonotonicMs();
  const got = await cell.acquire(lock, { session, id, waitMs: sessionTtlMs });
  if (got.state !== "done") return;
  const { token } = got;
  note({ line: "lock", calledAt, answeredAt: hostMonotonicMs(), token });
  let renewedMs = calledAt;
  for (let value = 0; ; value++) {
    if (hostMonotonicMs() - renewedMs > sessionTtlMs / 4) {
      renewedMs = hostMonotonicMs();
      await cell.renew(session);
    }
    const sentAt = hostMonotonicMs();
    const outcome = await cell.put("singleton/state", `${id} ${value}`, { lock, token });
    if (outcome.state !== "failed") {
      const answer = { calledAt: sentAt, answeredAt: hostMonotonicMs(), token };
      const revision = outcome.state === "done" ? { revision: outcome.revision } : {};
      note({ line: "write", ...answer, outcome: outcome.state, ...revision });
    }
    if (outcome.state === "refused") return;
    await clock.sleep(writeEveryMs);
  }
}
