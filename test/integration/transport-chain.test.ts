/** Identity chains that carry the hub's intermediate, over real TLS: to the hub, and inside the cell. */
import { strict as assert } from "node:assert";
import { after, test } from "node:test";
import {
  createAuthority,
  createRequest,
  signIntermediate,
  spiffeId,
  type Trust,
} from "../../src/identity/index.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { createRouter, dial } from "../../src/transport/index.ts";
import { temporaryFolder } from "../support/identity.ts";
import { testCell, testDeps, testLimits, testListener, text, utf8 } from "../support/transport.ts";

const hub = await testCell("hub");
const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = await createAuthority(
  { random: systemRandom, nowMs: () => Date.now() },
  { folder: folder.path, trustDomain: "cell-a.skerry" },
);
const cell = {
  trust: authority.trust,
  node: (name: string) => authority.issueCredentials(spiffeId(authority.trustDomain, "node", name)),
};
const keys = new Map<string, string>();
const registry = {
  claim: async (domain: string, pin: string) => {
    keys.set(domain, keys.get(domain) ?? pin);
    return keys.get(domain) ?? pin;
  },
  find: async (domain: string) => keys.get(domain),
};
authority.setHub({
  trust: hub.trust,
  intermediatePem: await signIntermediate(
    { random: systemRandom, nowMs: () => Date.now(), authority: hub.authority, registry },
    {
      trustDomain: cell.trust.trustDomain,
      request: await createRequest(authority.signer.key.keyPem),
    },
  ),
});
const [n1, n2] = [await cell.node("n1"), await cell.node("n2")];
const hubOwn = await hub.credentials("hub", "main");
/** What a hub trusts a cell by: the cell's domain under the hub's own anchor. */
const underHub: Trust = {
  trustDomain: cell.trust.trustDomain,
  anchorsPem: hub.trust.anchorsPem,
};

async function linkAndEcho(
  t: { after(close: () => Promise<void>): void },
  server: { own: typeof n1; trusts: readonly Trust[] },
  client: { trusts: readonly Trust[]; expect: string },
): Promise<string> {
  const router = createRouter();
  router.handle("echo", async ({ body, peer }) => utf8(`${peer.id} ${text(body)}`));
  const listener = await testListener(cell, server.own, { trusts: () => server.trusts, router });
  t.after(() => listener.close());
  const dialled = dial(testDeps, {
    address: listener,
    ...client,
    credentials: () => n2,
    trusts: () => client.trusts,
    router: createRouter(),
    limits: testLimits,
    backoff: { initialMs: 20, maxMs: 100 },
  });
  t.after(() => dialled.close());
  const link = await dialled.wait({ signal: AbortSignal.timeout(30_000) });
  return text(await link.request("echo", utf8("x")));
}

test("T14: a hub that trusts only its own anchor takes a node by the intermediate it sends along", async (t) => {
  assert.equal(n2.chainPem.match(/BEGIN CERTIFICATE/g)?.length, 2);
  const answer = await linkAndEcho(
    t,
    { own: hubOwn, trusts: [hub.trust, underHub] },
    { trusts: [cell.trust, hub.trust], expect: hub.trust.trustDomain },
  );
  assert.equal(answer, "spiffe://cell-a.skerry/node/n2 x");
});

test("T14: inside the cell the same chain leads to the cell's own anchor", async (t) => {
  const answer = await linkAndEcho(
    t,
    { own: n1, trusts: [cell.trust] },
    { trusts: [cell.trust, hub.trust], expect: cell.trust.trustDomain },
  );
  assert.equal(answer, "spiffe://cell-a.skerry/node/n2 x");
});
