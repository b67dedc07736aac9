/** What the command line makes of answers that are no success: the other side's code, words and hint. */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { failure, statusOf } from "../../src/apiserver/status.ts";
import { refusalOf } from "../../src/cli/refusal.ts";
import { explain, SkerryError } from "../../src/lib/errors.ts";
import { httpErrorOf } from "../../src/runtime/http-error/index.ts";

const path = "/skerry/v1/servers";
const said = { code: "no-vote", message: "n2 has no vote", hint: "skerry server list" };
const toldOf = (error: SkerryError) => {
  const { code, message, hint, retryable } = error;
  return { code, message, hint, retryable };
};

test("a node's gateway and a hub: the code, the hint and whether it may be tried again are theirs", () => {
  for (const retryable of [false, true]) {
    const { status, body } = httpErrorOf(new SkerryError({ ...said, retryable }));
    const error = refusalOf(path, status, JSON.stringify(body));
    assert.deepEqual(toldOf(error), { ...said, retryable });
  }
});

test("the cell's API: code and hint are taken out of what is made for clients that show only a message", () => {
  for (const retryable of [false, true]) {
    const status = statusOf(new SkerryError({ ...said, retryable }));
    const error = refusalOf(path, status.code, JSON.stringify(status));
    assert.deepEqual(toldOf(error), { ...said, retryable: status.code >= 500 });
    assert.equal(explain(error), status.message, "a person reads the same words");
  }
  const lost = statusOf(new SkerryError({ ...said, code: "quorum-lost", retryable: true }));
  assert.deepEqual(toldOf(refusalOf(path, lost.code, JSON.stringify(lost))), {
    ...{ ...said, code: "quorum-lost" },
    retryable: true,
  });
  const { hint: _, ...bare } = said;
  const plain = statusOf(new SkerryError(bare));
  assert.deepEqual(toldOf(refusalOf(path, plain.code, JSON.stringify(plain))), {
    ...{ ...bare, hint: undefined },
    retryable: true,
  });
});

test("what nobody of ours said is shown as it is", () => {
  const forbidden = failure("Forbidden", "n2 may not GET /metrics").status;
  assert.deepEqual(toldOf(refusalOf(path, 403, JSON.stringify(forbidden))), {
    ...{ code: "refused", message: "n2 may not GET /metrics" },
    ...{ hint: undefined, retryable: false },
  });
  const field = failure("Invalid", "spec: wrong", {
    causes: [{ reason: "FieldValueInvalid", message: "wrong", field: "spec" }],
  }).status;
  assert.equal(refusalOf(path, 422, JSON.stringify(field)).code, "refused");
  const proxy = refusalOf(path, 502, "<html>Bad Gateway</html>");
  assert.deepEqual(toldOf(proxy), {
    ...{ code: "refused", message: "<html>Bad Gateway</html>" },
    ...{ hint: undefined, retryable: true },
  });
  assert.equal(refusalOf(path, 404, "").message, `${path}: status 404`);
  for (const odd of ["null", "[]", "7", '{"error":7}', '{"message":7}'])
    assert.equal(refusalOf(path, 500, odd).code, "refused", odd);
});
