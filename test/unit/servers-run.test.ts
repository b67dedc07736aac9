/** Wishes about the servers: kept in the ledger, performed step by step, told, and ended with their grant. */
import { strict as assert } from "node:assert";
import { join } from "node:path";
import { test } from "node:test";
import {
  createServersBook,
  startPerformer,
  type MembershipView,
  type ServersPort,
  type Step,
} from "../../src/ledger/servers/index.ts";
import { SkerryError } from "../../src/lib/errors.ts";
import { hostDeps, openTestLedger, temporaryFolder } from "../support/ledger.ts";
import { waitFor } from "../support/wait.ts";

const wish = (node: string) => ({
  change: { verb: "add" as const, node },
  by: "spiffe://cell.skerry/user/admin",
  atMs: 1,
});

/** A cell whose second server comes step by step; `fail` throws at a step, once. */
function cell(fail?: {
  step: Step["step"];
  error: SkerryError;
}): ServersPort & { steps: string[] } {
  const steps: string[] = [];
  let failing = fail;
  const member = (name: string, more: object) => ({
    id: name === "n1" ? "1" : "2",
    name,
    peerUrls: [`https://${name}:7447`],
    isLearner: false,
    answers: true,
    isLeader: name === "n1",
    ...more,
  });
  return {
    steps,
    async observe(): Promise<MembershipView> {
      const has = (step: string) => steps.includes(step);
      const report = (node: string, isServer: boolean, memberId: string | undefined) => ({
        state: "here" as const,
        report: {
          node,
          role: isServer ? ("server" as const) : ("worker" as const),
          etcdVersion: "3.4.23",
          peerUrl: `https://${node}:7447`,
          memberId,
        },
      });
      return {
        self: "n1",
        engine: has("convert") ? "etcd" : "sqlite",
        members: [
          ...(has("convert") ? [member("n1", {})] : []),
          ...(has("add-learner")
            ? [
                member(has("start") ? "n2" : "", {
                  id: "2",
                  peerUrls: ["https://n2:7447"],
                  isLearner: !has("promote"),
                }),
              ]
            : []),
        ],
        nodes: new Map([
          ["n1", report("n1", true, "1")],
          ["n2", report("n2", has("make-server"), has("start") ? "2" : undefined)],
        ]),
      };
    },
    async perform(step) {
      if (failing?.step === step.step) {
        const { error } = failing;
        failing = undefined;
        throw error;
      }
      steps.push(step.step);
    },
  };
}

async function performed(port: ServersPort) {
  await using folder = await temporaryFolder();
  await using ledger = openTestLedger({ path: join(folder.path, "ledger.db") });
  const book = createServersBook(ledger);
  const performer = startPerformer({ ...hostDeps, ledger, book, port, self: "n1" });
  try {
    assert.deepEqual(await book.wish(wish("n2")), { state: "kept" });
    assert.equal((await book.wish(wish("n2"))).state, "standing");
    performer.kick();
    await waitFor(async () => (await book.wishes()).length === 0, { what: "the wish to end" });
    assert.equal(await book.isGranted("n2"), false, "a grant is good for one wish");
    return await book.progress("n2");
  } finally {
    await performer.stop();
  }
}

const all = ["convert", "add-learner", "start", "promote", "make-server"];

test("L16: a wish is performed step by step, and told", async () => {
  const port = cell();
  const progress = await performed(port);
  assert.deepEqual(port.steps, all);
  assert.equal(progress?.outcome?.state, "done");
  assert.equal(progress?.lines.length, all.length);
});

test("L16: a step that fails for the moment is tried again", async () => {
  const error = new SkerryError({ code: "peer-unreachable", message: "planted", retryable: true });
  const port = cell({ step: "start", error });
  assert.equal((await performed(port))?.outcome?.state, "done");
  assert.deepEqual(port.steps, all);
});

test("L16: a step that cannot succeed ends the wish with its reason", async () => {
  const error = new SkerryError({ code: "invalid-handover", message: "planted", hint: "look" });
  const port = cell({ step: "start", error });
  const progress = await performed(port);
  assert.deepEqual(progress?.outcome, { state: "failed", message: "planted", hint: "look" });
  assert.deepEqual(port.steps, ["convert", "add-learner"]);
});
