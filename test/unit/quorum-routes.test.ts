/** Routes of the cell's API that need the ledger: why there is no answer, in words that help. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { sayingQuorumLost } from "../../src/agent/quorum-resources.ts";
import type { MountedRequest, MountedRoute } from "../../src/apiserver/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";

const unavailable = new SkerryError({
  code: "ledger-unavailable",
  message: "no member of the ledger answers",
  retryable: true,
});
const request: MountedRequest = {
  method: "POST",
  path: "/skerry/v1/tokens",
  query: new URLSearchParams(),
  subject: { id: "spiffe://shop.skerry/user/admin", path: ["user", "admin"] },
  body: async () => ({}),
  signal: new AbortController().signal,
};
const codeOf = async (thrown: Error, hasQuorum: boolean) => {
  const route: MountedRoute = { prefix: "/skerry/v1/tokens", handle: () => Promise.reject(thrown) };
  const asked = sayingQuorumLost(route, () => hasQuorum).handle(request);
  const error = await Promise.resolve(asked).then(
    () => assert.fail("answered"),
    (reason: unknown) => reason,
  );
  return error instanceof SkerryError ? error.code : String(error);
};

test("a ledger that does not answer is a lost quorum while there is none, and nothing else is", async () => {
  assert.equal(await codeOf(unavailable, false), "quorum-lost");
  assert.equal(await codeOf(unavailable, true), "ledger-unavailable");
  const other = new SkerryError({ code: "invalid-argument", message: "verb" });
  assert.equal(await codeOf(other, false), "invalid-argument");
  assert.equal(await codeOf(new Error("bug"), false), "Error: bug");
});
