/** What pods find in the file with their token, also while it is renewed. */
import { strict as assert } from "node:assert";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { createPodEnvironment } from "../../src/agent/pod-environment.ts";
import type { Pod } from "../../src/api/index.ts";
import {
  createAuthority,
  mintAppToken,
  spiffeId,
  verifyAppToken,
} from "../../src/identity/index.ts";
import { createSimulatedClock } from "../../src/lib/clock-simulated.ts";
import { silentLog } from "../../src/lib/log.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { dayMs, temporaryFolder, testNowMs } from "../support/identity.ts";
import { waitFor } from "../support/wait.ts";

const pod: Pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "hello", namespace: "default", uid: "u1" },
  spec: { containers: [] },
};

/** An environment whose tokens are counted; `renew` says that there is another certificate. */
function counted(folder: string) {
  const clock = createSimulatedClock();
  const listeners = new Set<() => void>();
  let minted = 0;
  const environment = createPodEnvironment({
    clock,
    log: silentLog,
    folder,
    gatewayUrl: "http://127.0.0.1:7480",
    mint: () => `token ${++minted}`.repeat(20),
    onRenewal(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  });
  return {
    clock,
    environment,
    listeners,
    path: join(folder, "u1", "token"),
    minted: () => minted,
    renew: () => listeners.forEach((listener) => listener()),
    holds: (count: number) => async () =>
      (await readFile(join(folder, "u1", "token"), "utf8")) === `token ${count}`.repeat(20),
  };
}

test("a pod's token is replaced whole: who has the old one open reads the old one to its end", async () => {
  using folder = temporaryFolder();
  const { environment, renew, holds } = counted(folder.path);
  const given = await environment.variables(pod);
  assert.equal(given["SKERRY_GATEWAY"], "http://127.0.0.1:7480");
  const path = given["SKERRY_TOKEN_FILE"] ?? "";
  await using reader = await open(path);
  await environment.variables(pod);
  renew();
  await waitFor(holds(3), { what: "the third token" });
  assert.equal(await reader.readFile("utf8"), "token 1".repeat(20));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(dirname(path)), ["token"]);
  await environment.release("u1");
  assert.equal(existsSync(dirname(path)), false);
});

test("W18: the token of a pod that runs for months is always good, whichever agent started the pod", async () => {
  const domain = "cell-a.skerry";
  let nowMs = testNowMs;
  using keys = temporaryFolder();
  const authority = await createAuthority(
    { random: systemRandom, nowMs: () => nowMs },
    { folder: keys.path, trustDomain: domain },
  );
  const issue = () => authority.issueCredentials(spiffeId(domain, "node", "n1"));
  let credentials = await issue();
  const listeners = new Set<() => void>();
  using folder = temporaryFolder();
  const path = join(folder.path, "u1", "token");
  const openEnvironment = () =>
    createPodEnvironment({
      clock: createSimulatedClock(),
      log: silentLog,
      folder: folder.path,
      gatewayUrl: "http://127.0.0.1:7480",
      mint: () =>
        mintAppToken(
          { nowMs: () => nowMs, credentials },
          { subject: spiffeId(domain, "ns", "default", "sa", "default"), lifetimeMs: 30 * dayMs },
        ).token,
      onRenewal(listener) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    });
  const isGood = async () =>
    verifyAppToken(await readFile(path, "utf8"), authority.trust, nowMs, 60_000).ok;

  let environment = openEnvironment();
  await environment.variables(pod);
  for (let day = 1; day <= 100; day++) {
    nowMs += dayMs;
    // Two agents that went away, one for so long that nothing holds any more.
    if (day === 20 || day === 55) {
      environment.stop();
      if (day === 55) nowMs += 40 * dayMs;
      credentials = await issue();
      environment = openEnvironment();
      environment.adopt(pod);
    }
    if (day % 15 === 0) {
      credentials = await issue();
      for (const listener of listeners) listener();
    }
    await waitFor(isGood, { what: `a good token on day ${day}`, timeoutMs: 5_000 });
  }
  assert.equal(listeners.size, 1, "an agent that stopped listens no more");
});

test("W18: what cannot be written is tried again each minute, and not after the pod or the agent is gone", async () => {
  using folder = temporaryFolder();
  const { clock, environment, listeners, path, minted, renew, holds } = counted(folder.path);
  await environment.variables(pod);
  // As a full disk: the file beside cannot be made.
  mkdirSync(`${path}.new`);
  renew();
  await waitFor(() => clock.pending > 0, { what: "another try" });
  await clock.advance(59_000);
  rmSync(`${path}.new`, { recursive: true });
  assert.ok(await holds(1)());
  await clock.advance(1_000);
  await waitFor(holds(3), { what: "the token of the second try" });
  // A release comes behind all that is being written, and nothing is written behind it.
  for (let times = 0; times < 20; times++) renew();
  await environment.release("u1");
  renew();
  await waitFor(() => minted() === 23, { what: "what was under way" });
  assert.deepEqual(readdirSync(folder.path), []);
  environment.stop();
  assert.equal(listeners.size, 0);
});
