// A worker that never runs twice: of all its copies one leads and works, the others wait to follow it.
//
// Two things make it so. The election: who leads holds it by a session that the cell ends when it is
// not renewed. And the fence: every write carries the token it was elected under, and the cell refuses
// it from the moment that another was elected. The second is what protects against a copy that was
// paused (a frozen machine, a debugger) and believes that it still leads: no timer could.
//
// As pods of a cell: examples/singleton.yaml. By hand, as many copies as you like:
//   SKERRY_GATEWAY=http://NODE:7480 SKERRY_TOKEN_FILE=token node singleton.mjs
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { createCoordination } from "skerry/client";

const { SKERRY_GATEWAY, SKERRY_TOKEN_FILE, POD_NAME = `process ${process.pid}` } = process.env;
const coordination = createCoordination({
  gateway: SKERRY_GATEWAY ?? "http://127.0.0.1:7480",
  // Read anew for each request: a pod's token is renewed in place.
  token: () => readFile(SKERRY_TOKEN_FILE, "utf8"),
});
const stopping = new AbortController();
process.once("SIGTERM", () => stopping.abort());
process.once("SIGINT", () => stopping.abort());

console.log(`${POD_NAME} waits for its turn`);
while (!stopping.signal.aborted) {
  try {
    const leadership = await coordination.elect("singleton", {
      value: POD_NAME,
      ttlMs: 3000,
      signal: stopping.signal,
    });
    console.log(`${POD_NAME} leads under token ${leadership.token}`);
    try {
      await work(leadership);
    } finally {
      // So that the next one need not wait for the session to run out.
      await leadership.resign();
    }
    console.log(`${POD_NAME} leads no more`);
  } catch (error) {
    if (stopping.signal.aborted) break;
    console.log(`${POD_NAME} tries again: ${error.message}`);
    if (error.retryable === false) process.exitCode = 1;
    await sleep(1000);
  }
}

/** One step a second until it is told to stop, or leads no more. */
async function work({ token, fence, lost }) {
  const over = AbortSignal.any([lost, stopping.signal]);
  while (!over.aborted) {
    const before = await coordination.get("singleton/steps");
    const step = Number(before?.text() ?? 0) + 1;
    // Taken first, then done: a step is done at most once, whatever happens to whom.
    const outcome = await coordination.cas(
      "singleton/steps",
      before?.modRevision ?? 0,
      String(step),
      { fence },
    );
    if (outcome.state === "done") console.log(`step ${step} under token ${token}`);
    if (outcome.state === "refused" && outcome.reason === "fence-lost") return;
    // Unknown: whether this step was taken shows when it is read again.
    await sleep(1000, undefined, { signal: over }).catch(() => undefined);
  }
}
