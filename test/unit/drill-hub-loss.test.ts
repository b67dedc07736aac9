import { strict as assert } from "node:assert";
import { test } from "node:test";
import {
  hubLossPromises,
  type HubLoss,
  type HubLossSeen,
} from "../../src/drill/scripts/hub-loss-verdict.ts";

const looks = [100, 1500, 3200, 4800].map((atMs) => ({
  atMs,
  live: "200",
  ready: atMs < 2000 ? "200" : "503",
}));
const loss: HubLoss = { what: "kill PostgreSQL", hubLives: true, looks, caughtUpMs: 2000 };
const killed: HubLoss = { what: "kill the hub", hubLives: false, looks: [], caughtUpMs: 1500 };
const good: HubLossSeen = {
  losses: [loss, killed],
  before: new Map([["a", "[1]"]]),
  after: new Map([["a", "[1]"]]),
  podsOff: 0,
};
const broken = (more: Partial<HubLossSeen>) =>
  hubLossPromises({ ...good, ...more })
    .filter(({ ok }) => !ok)
    .map(({ id }) => id);

test("hub-loss: each promise breaks by what it is about, and by what was not measured", () => {
  assert.deepEqual(broken({}), []);
  assert.deepEqual(broken({ losses: [loss, { ...killed, caughtUpMs: 30_001 }] }), ["H1"]);
  const looked = (more: object) => [
    { ...loss, looks: looks.map((look) => (look.atMs === 3200 ? { ...look, ...more } : look)) },
  ];
  assert.deepEqual(broken({ losses: looked({ live: "connect ECONNREFUSED" }) }), ["H2"]);
  assert.deepEqual(broken({ losses: looked({ ready: "200" }) }), ["H3"]);
  assert.deepEqual(broken({ losses: [loss, { ...loss, looks: looks.slice(2) }] }), ["H4"]);
  assert.deepEqual(broken({ losses: [killed] }), ["H4"]);
  assert.deepEqual(broken({ losses: [] }), ["H1", "H4"]);
  assert.deepEqual(broken({ after: new Map([["a", "[2]"]]) }), ["H5"]);
  assert.deepEqual(broken({ after: new Map() }), ["H5"]);
  assert.deepEqual(broken({ before: new Map(), after: new Map() }), ["H5"]);
  assert.deepEqual(broken({ podsOff: 1 }), ["R3"]);
});
