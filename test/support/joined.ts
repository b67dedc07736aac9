/** The identity of a node that joined, for commands that mint tokens from its data folder. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import {
  createAuthority,
  createJoinToken,
  createNodeEnrolment,
  openNodeIdentity,
  prepareJoin,
} from "../../src/identity/index.ts";
import { systemRandom } from "../../src/runtime/clock/index.ts";
import { memoryTokens } from "./tokens.ts";

const nowMs = () => Date.now();

/** An identity in the folder, as a node that joined has it. */
export async function joined(dataDir: string) {
  const authority = await createAuthority(
    { random: systemRandom, nowMs },
    { folder: join(dataDir, "ca"), trustDomain: "shop.skerry" },
  );
  const store = memoryTokens({ nowMs });
  const enrol = createNodeEnrolment({
    authority,
    tokens: store,
    nowMs,
    apiAddress: () => "127.0.0.1:1",
  });
  const { token } = await createJoinToken(
    { random: systemRandom, store, nowMs },
    { cell: "shop", pin: authority.pin, name: "n1" },
  );
  const folder = join(dataDir, "identity");
  const attempt = await prepareJoin({ folder, token, node: "n1", addresses: ["127.0.0.1"] });
  attempt.accept(await enrol(attempt.request));
  const identity = openNodeIdentity(folder);
  assert.ok(identity);
  return identity;
}
